"""Finds the best classifier of handwritten digits: one task per candidate, fanned out over two warm workers.

flyte run examples/digits/digits.py main
flyte run examples/digits/digits.py main --folds 5
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import flyte

# The workers' environment brings scikit-learn. The machine that starts the run does not need it,
# nor does the driver, which is plain Python: both load this module, so the tasks import scikit-learn inside.
training = flyte.TaskEnvironment(
    name="digits_training",
    image=flyte.Image.from_debian_base().with_pip_packages("scikit-learn"),
    resources=flyte.Resources(cpu=1, memory="512Mi"),
    env_vars={"OMP_NUM_THREADS": "1"},  # one core each: two workers must not fight over the same cores
    reusable=flyte.ReusePolicy(replicas=2, idle_ttl=300),
)
driver = flyte.TaskEnvironment(name="digits", depends_on=[training])

Kind = Literal["support_vectors", "neighbours", "forest", "logistic"]


@dataclass
class Candidate:
    """A kind of model and its hyperparameters, as scikit-learn names them."""

    kind: Kind
    parameters: dict[str, float]


@dataclass
class Score:
    """How well a candidate did in cross-validation on the training part of the data."""

    candidate: Candidate
    mean_accuracy: float
    worst_fold: float


@dataclass
class Summary:
    """The winner, measured on digits that no candidate has seen."""

    accuracy: float
    best: Candidate
    tested_on: int
    most_confused: list[str]
    top_five: list[Score]


CANDIDATES = [
    *(
        Candidate("support_vectors", {"C": c, "gamma": gamma})
        for c in (1, 10)
        for gamma in (0.0005, 0.001, 0.002)
    ),
    *(Candidate("neighbours", {"n_neighbors": n}) for n in (1, 3, 5)),
    *(Candidate("forest", {"n_estimators": n}) for n in (50, 100)),
    *(Candidate("logistic", {"C": c}) for c in (0.1, 1)),
]


@driver.task
async def main(folds: int = 3) -> Summary:
    """Cross-validate every candidate, then test the best one on digits held back until then."""
    scores = await asyncio.gather(*(cross_validate(candidate, folds) for candidate in CANDIDATES))
    ranking = sorted(scores, key=lambda score: score.mean_accuracy, reverse=True)
    return await evaluate(ranking)


@training.task(retries=1)
async def cross_validate(candidate: Candidate, folds: int) -> Score:
    """Score a candidate on the training part of the data."""
    from sklearn.model_selection import cross_val_score

    images, labels, _, _ = digits()
    accuracies = cross_val_score(model(candidate), images, labels, cv=folds)
    print(f"{candidate.kind} {candidate.parameters}: {accuracies.mean():.4f}")
    return Score(candidate, round(float(accuracies.mean()), 4), round(float(accuracies.min()), 4))


@training.task(retries=1)
async def evaluate(ranking: list[Score]) -> Summary:
    """Train the best candidate on the whole training part and measure it on the held-out part."""
    from sklearn.metrics import confusion_matrix

    best = ranking[0].candidate
    images, labels, held_out_images, held_out_labels = digits()
    predicted = model(best).fit(images, labels).predict(held_out_images)
    confusion = confusion_matrix(held_out_labels, predicted)
    mistakes = sorted(
        ((int(confusion[a, b]), a, b) for a in range(10) for b in range(10) if a != b and confusion[a, b]),
        reverse=True,
    )
    return Summary(
        accuracy=round(float((predicted == held_out_labels).mean()), 4),
        best=best,
        tested_on=len(held_out_labels),
        most_confused=[f"{a} read as {b}: {count}×" for count, a, b in mistakes[:3]],
        top_five=ranking[:5],
    )


def digits() -> tuple[Any, Any, Any, Any]:
    """Return images and labels to train on, then images and labels held back: always the same split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return train_images, train_labels, test_images, test_labels


def model(candidate: Candidate) -> Any:
    """Return an untrained model."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    # JSON knows one kind of number; counts must be whole again.
    parameters = {
        name: int(value) if name.startswith("n_") else value for name, value in candidate.parameters.items()
    }
    match candidate.kind:
        case "support_vectors":
            return SVC(**parameters)
        case "neighbours":
            return KNeighborsClassifier(**parameters)
        case "forest":
            return RandomForestClassifier(random_state=0, **parameters)
        case "logistic":
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, **parameters))


if __name__ == "__main__":
    flyte.init_from_config()
    run = flyte.run(main)
    print(run.url)
    print(run)
