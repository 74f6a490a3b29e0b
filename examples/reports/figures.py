"""A report with figures of matplotlib and plotly, in one file that needs no network to be looked at.

flyte run examples/reports/figures.py main
flyte run --local examples/reports/figures.py main
"""

import base64
import io
import math

import flyte

env = flyte.TaskEnvironment(
    name="figures",
    image=flyte.Image.from_debian_base().with_pip_packages("matplotlib", "plotly"),
    resources=flyte.Resources(cpu=1, memory="1Gi"),
)


def matplotlib_figure(xs: list[float], ys: list[float]) -> str:
    """A figure of matplotlib as an image inside HTML."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(xs, ys)
    axes.set(xlabel="x", ylabel="sin(x)", title="matplotlib")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img alt="A sine wave" src="data:image/png;base64,{data}">'


def plotly_figure(xs: list[float], ys: list[float]) -> str:
    """A figure of plotly that can be zoomed. Its library goes into the report, so that it needs no network."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=xs, y=ys, mode="lines"))
    figure.update_layout(title="plotly", xaxis_title="x", yaxis_title="cos(x)")
    return str(figure.to_html(full_html=False, include_plotlyjs=True))


@env.task(report=True)
async def main(points: int = 200) -> int:
    """Draw two figures, each in its tab."""
    xs = [2 * math.pi * step / points for step in range(points + 1)]
    await flyte.report.log.aio("<h1>Two waves</h1>", do_flush=True)
    flyte.report.log(matplotlib_figure(xs, [math.sin(x) for x in xs]))
    flyte.report.get_tab("interactive").log(plotly_figure(xs, [math.cos(x) for x in xs]))
    return len(xs)
