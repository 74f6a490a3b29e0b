"""The cache as the core sees it: what was stored lately, and who computes what others wait for.

The ledger has the entries; the shell looks them up when it makes an event and the core only has to know those that may
be younger than that look-up.
"""

from __future__ import annotations

from collections import OrderedDict

from . import effects as fx
from .model import Action, State
from .world import Reservation, World

REMEMBERED_ENTRIES = 65_536  # more than can be stored between the look-up of an event and its turn


def find(w: World, key: str, cached: int) -> int:
    """The action whose outputs the cache has under a key, 0 for none.

    Args:
        w: The world.
        key: The key.
        cached: What the ledger's cache had when the event was made.
    """
    return w.stored.get(key, cached)


def store(w: World, key: str, action_id: int) -> None:
    """Make the outputs of a succeeded action the entry of a key."""
    w.stored[key] = action_id
    w.stored.move_to_end(key)
    if len(w.stored) > REMEMBERED_ENTRIES:
        w.stored.popitem(last=False)
    w.emit(fx.CacheStored(key, action_id, w.now))


def reserve(w: World, action: Action) -> Action | None:
    """Let an action compute what its key stands for, or wait for the one that does.

    Returns:
        The action to wait for. None when `action` has to run itself: nobody else does, it is to replace what is
        there, or whoever does waits, directly or not, for something that `action` is part of.
    """
    key = _key(action)
    reservation = w.reservations.get(key)
    if reservation is None:
        w.reservations[key] = Reservation(action.id)
        return None
    owner = w.actions[reservation.owner]
    if action.cache is not None and action.cache.overwrite:
        return None
    if _waits_for_part_of(w, owner, action):
        return None
    reservation.waiting[action.id] = None
    return owner


def release(w: World, action: Action) -> list[Action]:
    """An action has ended: it computes no more and waits no more.

    Returns:
        The actions that waited for it, the first first. They wait for nobody now.
    """
    key = _key(action)
    reservation = w.reservations.get(key)
    if reservation is None:
        return []
    reservation.waiting.pop(action.id, None)
    if reservation.owner != action.id:
        return []
    del w.reservations[key]
    return [w.actions[waiting] for waiting in reservation.waiting]


def inherit(w: World, owner: Action, waiting: list[Action]) -> None:
    """Let an action compute what others wait for, in place of one that did not succeed."""
    w.reservations[_key(owner)] = Reservation(owner.id, OrderedDict.fromkeys(each.id for each in waiting))


def restore(w: World) -> None:
    """Find out again who computes and who waits, from the states of the actions."""
    for action in sorted(
        w.actions.values(), key=lambda each: (each.state is State.WAITING_FOR_CACHE, each.id)
    ):
        if not action.is_live or action.cache is None or not action.cache.serialize:
            continue
        if action.state is State.WAITING_FOR_CACHE:
            w.reservations[action.cache.key].waiting[action.id] = None
        else:
            w.reservations.setdefault(action.cache.key, Reservation(action.id))


def _key(action: Action) -> str:
    if action.cache is None:
        raise ValueError(f"action {action.id} does not use the cache")
    return action.cache.key


def _waits_for_part_of(w: World, owner: Action, action: Action) -> bool:
    """Whether `owner` cannot end before `action` has: it, or what it waits for, is above `action`."""
    above = set(_line(w, action))
    if not any(_owns(w, w.actions[number]) for number in above):
        return False  # nobody waits for anything that this action is part of
    reached, pending = {owner.id}, [owner.id]
    while pending:
        current = pending.pop()
        if current in above:
            return True
        for reservation in w.reservations.values():
            if reservation.owner not in reached and any(
                current in _line(w, w.actions[waiting]) for waiting in reservation.waiting
            ):
                reached.add(reservation.owner)
                pending.append(reservation.owner)
    return False


def _owns(w: World, action: Action) -> bool:
    reservation = w.reservations.get(action.cache.key) if action.cache is not None else None
    return reservation is not None and reservation.owner == action.id


def _line(w: World, action: Action) -> list[int]:
    """An action and all that are above it."""
    line = [action.id]
    while action.parent_id is not None:
        action = w.actions[action.parent_id]
        line.append(action.id)
    return line
