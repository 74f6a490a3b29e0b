"""Pages elsewhere that belong to an action, such as that of an experiment tracker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

# Stand in a link for what is known once there is an action. They survive the quoting of addresses.
RUN_NAME = "__hangar_run_name__"
PROJECT = "__hangar_project__"
DOMAIN = "__hangar_domain__"
ACTION_NAME = "__hangar_action_name__"
PARENT_ACTION_NAME = "__hangar_parent_action_name__"


@runtime_checkable
class Link(Protocol):
    """A page elsewhere that is shown with each action of a task.

    An object of any class with a `name` and a method `get_link`. The method is called where the task is described, with
    marks for run and action that are filled in when the link is shown: put them into the address as they are.

    Attributes:
        name: What the page is called.

    Example:
        ```python
        class Board:
            name = "Board"

            def get_link(self, run_name, project, domain, context, parent_action_name, action_name, pod_name, **kwargs):
                return f"https://board.example.com/{project}/{run_name}?step={action_name}"

        @env.task(links=[Board()])
        def train(rows: int) -> float: ...
        ```
    """

    name: str

    def get_link(
        self,
        run_name: str,
        project: str,
        domain: str,
        context: Mapping[str, str],
        parent_action_name: str,
        action_name: str,
        pod_name: str,
        **kwargs: Any,
    ) -> str:
        """The address.

        Args:
            run_name: Stands for the name of the run.
            project: Stands for its project.
            domain: Stands for its domain.
            context: The custom context where the task is called.
            parent_action_name: Stands for the name of the action that called the task, empty for the root.
            action_name: Stands for the name of the action.
            pod_name: Empty: there are no pods.
            **kwargs: Nothing yet.
        """


def check_links(links: object) -> tuple[Link, ...]:
    """Links, or a `TypeError` that says what one is."""
    if not isinstance(links, (list, tuple)):
        raise TypeError(f"links must be a list of objects with name and get_link, not {links!r}")
    for link in links:
        if not isinstance(getattr(link, "name", None), str) or not callable(getattr(link, "get_link", None)):
            raise TypeError(
                f"links: {link!r} must have a name and a method get_link(run_name, project, …) -> str"
            )
    return tuple(links)


def link_specs(links: Iterable[Link], context: Mapping[str, str]) -> list[dict[str, str]]:
    """The links of a task's spec.

    Args:
        links: The links.
        context: The custom context where the task is called.

    Raises:
        ValueError: One of them gives no text, or raises.
    """
    return [{"name": link.name, "url": _address(link, context)} for link in links]


def filled(url: str, *, run: str, project: str, domain: str, action: str, parent: str) -> str:
    """The address of one action's page."""
    marks = {RUN_NAME: run, PROJECT: project, DOMAIN: domain, ACTION_NAME: action, PARENT_ACTION_NAME: parent}
    for mark, value in marks.items():
        url = url.replace(mark, value)
    return url


def _address(link: Link, context: Mapping[str, str]) -> str:
    try:
        url = link.get_link(
            run_name=RUN_NAME,
            project=PROJECT,
            domain=DOMAIN,
            context=dict(context),
            parent_action_name=PARENT_ACTION_NAME,
            action_name=ACTION_NAME,
            pod_name="",
        )
    except Exception as error:
        raise ValueError(f"link {link.name!r}: get_link raised {type(error).__name__}: {error}") from error
    if not isinstance(url, str) or not url:
        raise ValueError(f"link {link.name!r}: get_link must return an address, not {url!r}")
    return url
