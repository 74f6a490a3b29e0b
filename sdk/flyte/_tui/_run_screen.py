"""One run: the tree of its actions, and the details or the log of the one that is chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static, Tree
from textual.widgets.tree import TreeNode

from flyte._tui._text import details, label, logs

if TYPE_CHECKING:
    from flyte._tui._source import Action, Source

_REFRESH_SECONDS = 0.5


class RunScreen(Screen[None]):
    """The actions of one run.

    Args:
        source: Where they are read from.
        run: Name of the run.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "show('details')", "Details"),
        Binding("l", "show('logs')", "Logs"),
        Binding("escape", "back", "Back"),
    ]
    CSS = """
    #title { padding: 0 1; background: $panel; }
    Tree { width: 2fr; }
    VerticalScroll { width: 3fr; padding: 0 1; border-left: solid $panel; }
    """

    def __init__(self, source: Source, run: str) -> None:
        super().__init__()
        self._source = source
        self._run = run
        self._actions: dict[str, Action] = {}
        self._branches: dict[str, TreeNode[str]] = {}
        self._chosen = "a0"
        self._shown = "details"
        self._is_wanted = asyncio.Event()

    def compose(self) -> ComposeResult:
        """A tree and a panel."""
        yield Static(Text(f"Run {self._run}"), id="title")
        with Horizontal():
            tree: Tree[str] = Tree("actions")
            tree.show_root = False
            tree.auto_expand = False
            yield tree
            with VerticalScroll():
                yield Static("", id="panel")
        yield Footer()

    def on_mount(self) -> None:
        """Reads the actions and fills the panel, again and again."""
        self.query_one(Tree).focus()
        self.read()
        self.show_chosen()

    @work
    async def read(self) -> None:
        """Asks for the actions. One answer comes after the other: what is shown never gets older."""
        while True:
            try:
                actions = await asyncio.to_thread(self._source.actions, self._run)
            except Exception as error:  # noqa: BLE001 - the application ends with it
                self.app.fail(error)  # type: ignore[attr-defined]  # it is a RunsApp
                return
            if not self.app.is_running:
                return  # it is being taken down
            if actions is not None:
                self.take(actions)
            elif any(not action.known_phase.is_terminal for action in self._actions.values()):
                self.tick()
            await asyncio.sleep(_REFRESH_SECONDS)

    def take(self, actions: Sequence[Action]) -> None:
        """Shows actions in their new state."""
        self._actions = {action.name: action for action in actions}
        for action in actions:
            self._node_of(action).set_label(label(action))
        self._title()
        self.fill()

    def tick(self) -> None:
        """Time goes on where an action runs; and it may have written something."""
        for action in self._actions.values():
            if not action.known_phase.is_terminal:
                self._branches[action.name].set_label(label(action))
        self._title()
        if self._shown == "logs" and not self._actions[self._chosen].known_phase.is_terminal:
            self.fill()

    def fill(self) -> None:
        """Has the panel filled anew."""
        self._is_wanted.set()

    @work
    async def show_chosen(self) -> None:
        """Fills the panel when that is wanted, unless something else was chosen meanwhile."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            action, shown = self._actions.get(self._chosen), self._shown
            if action is None:
                continue
            try:
                text = await asyncio.to_thread(details if shown == "details" else logs, action)
            except Exception as error:  # noqa: BLE001 - shown in the panel: the rest of the screen is of use
                text = Text(f"{type(error).__name__}: {error}", "red")
            title = "Details" if shown == "details" else "Logs"
            heading = Text(f"{title} of {action.short_name}\n\n", "bold")
            if self.app.is_running and (action.name, shown) == (self._chosen, self._shown):
                self.query_one("#panel", Static).update(heading + text)

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        """Another action is chosen."""
        if event.node.data is not None and event.node.data != self._chosen:
            self._chosen = event.node.data
            self.fill()

    def action_show(self, shown: str) -> None:
        """Shows details or the log."""
        self._shown = shown
        self.fill()

    def action_back(self) -> None:
        """Goes back to the list, if there is one."""
        if self._source.only_run is None:
            self.app.pop_screen()

    def _title(self) -> None:
        root = self._actions.get("a0")
        if root is not None:
            title = Text(f"Run {self._run}  ") + label(root) + Text(f"  {root.known_phase.value}")
            self.query_one("#title", Static).update(title)

    def _node_of(self, action: Action) -> TreeNode[str]:
        """The node of an action, which is made with the folders of its groups when it is new."""
        node = self._branches.get(action.name)
        if node is None:
            above = self._branches.get(action.parent or "") or self.query_one(Tree).root
            path = action.parent or ""
            for name in (action.group or "").split("/"):
                if not name:
                    continue
                path = f"{path}/{name}"
                if path not in self._branches:
                    self._branches[path] = above.add(Text(f"▸ {name}", "dim"), expand=True)
                above = self._branches[path]
            node = above.add(action.short_name, data=action.name, expand=True)
            self._branches[action.name] = node
        return node
