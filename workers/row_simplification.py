"""Row simplification: a row graph without what changes no bit of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.row_geometry import Watched, is_pure, watch
from workers.row_graph import Call, Ref, RowGraph, mapped, mapped_call, refs_of

_aten = torch.ops.aten
_COPIES = frozenset({_aten.clone.default, _aten._to_copy.default})
_PRODUCTS_BY_ONE = frozenset({_aten.mul.Scalar, _aten.mul.Tensor, _aten.div.Scalar})
_TRANSPOSITIONS = frozenset({_aten.transpose.int, _aten.permute.default})
_MATRIX_AXES = ([1, 2], [2, 1], [0, 2, 1])


def simplified(graph: RowGraph, inputs: Sequence[Tensor]) -> RowGraph:
    """``graph`` with the same outputs and effects, bit for bit.

    Left out: views that are what they are of, copies of what nobody writes into, products with one, what was
    computed before, and what nobody reads. A product that is only wanted transposed is made transposed,
    where that is the same sums. ``inputs`` are of the graph's width; it may write into them.
    """
    turned = _turned(graph, watch(graph, inputs))
    return _without_unread(_without_repeats(turned, watch(turned, inputs)))


def _without_repeats(graph: RowGraph, watched: Watched) -> RowGraph:
    """Every value that equals an earlier one is replaced by it."""
    same: dict[int, Ref] = {}
    known: dict[Any, int] = {}
    for place, geometry in enumerate(watched.geometries[: graph.first_call]):
        known.setdefault(geometry, place)
    calls = []
    for place, call in enumerate(graph.calls, start=graph.first_call):
        call = mapped_call(call, lambda value: _replaced(value, same))
        calls.append(call)
        geometry = watched.geometries[place]
        earlier = known.setdefault(geometry, place) if geometry is not None else place
        if earlier == place and is_pure(call) and _changes_nothing(call, place, watched):
            earlier = refs_of(call)[0].index
        unchanged = not any(watched.is_changed(ref.index) for ref in (*refs_of(call), Ref(place)))
        if earlier == place and is_pure(call) and unchanged:
            earlier = known.setdefault(_written_out(call), place)
        if earlier != place:
            same[place] = Ref(earlier)
    outputs = tuple(same.get(ref.index, ref) for ref in graph.outputs)
    return RowGraph(inputs=graph.inputs, constants=graph.constants, calls=tuple(calls), outputs=outputs)


def _replaced(value: Any, same: dict[int, Ref]) -> Any:
    return same.get(value.index, value) if isinstance(value, Ref) else value


def _changes_nothing(call: Call, place: int, watched: Watched) -> bool:
    """Whether it is a copy, or a product with one, of something that lies the same and stays as it is."""
    by_one = call.operation in _PRODUCTS_BY_ONE and call.arguments[1:] == (1,)
    if not by_one and call.operation not in _COPIES:
        return False
    (source,) = refs_of(call)
    given, made = watched.geometries[source.index], watched.geometries[place]
    return (
        given is not None
        and made is not None
        and given.lies_like(made)
        and not watched.is_changed(source.index)
        and not watched.is_changed(place)
    )


def _written_out(call: Call) -> str:
    """The same for calls that give the same."""
    return repr((str(call.operation), call.arguments, sorted(call.named.items())))


def _without_unread(graph: RowGraph) -> RowGraph:
    """Without operations whose results nobody reads, unless they write."""
    first = graph.first_call
    read = {ref.index for ref in graph.outputs}
    kept: list[int] = []
    for place in range(first + len(graph.calls) - 1, first - 1, -1):
        call = graph.calls[place - first]
        if place in read or not is_pure(call):
            kept.append(place)
            read.update(ref.index for ref in refs_of(call))
    kept.reverse()
    return renumbered(graph, [(place, graph.calls[place - first]) for place in kept], graph.outputs)


def renumbered(graph: RowGraph, calls: Sequence[tuple[int, Call]], outputs: Sequence[Ref]) -> RowGraph:
    """A graph of ``calls``, whose values were known by the numbers given with them."""
    places = {place: Ref(place) for place in range(graph.first_call)}
    for index, (place, _) in enumerate(calls):
        places[place] = Ref(graph.first_call + index)

    def placed(value: Any) -> Any:
        return places[value.index] if isinstance(value, Ref) else value

    return RowGraph(
        inputs=graph.inputs,
        constants=graph.constants,
        calls=tuple(mapped_call(call, placed) for _, call in calls),
        outputs=tuple(mapped(list(outputs), placed)),
    )


def _turned(graph: RowGraph, watched: Watched) -> RowGraph:
    """``(a b)^T`` as ``b^T a^T`` where nothing but an output reads it and no bit is another.

    Gradients of weights come so from autograd, and copying a transposed matrix is slow.
    """
    readers: dict[int, list[int]] = {}
    for place, call in enumerate(graph.calls, start=graph.first_call):
        for ref in refs_of(call):
            readers.setdefault(ref.index, []).append(place)
    wanted = {ref.index for ref in graph.outputs}
    calls: list[tuple[int, Call]] = []
    fresh = graph.first_call + len(graph.calls)
    for place, call in enumerate(graph.calls, start=graph.first_call):
        product = (
            _product_of(graph, watched, readers, call) if place in wanted and place not in readers else None
        )
        if product is None:
            calls.append((place, call))
            continue
        one, other = product.arguments
        calls.append((fresh, Call(_aten.transpose.int, (other, 1, 2), {})))
        calls.append((fresh + 1, Call(_aten.transpose.int, (one, 1, 2), {})))
        calls.append((place, Call(_aten.bmm.default, (Ref(fresh), Ref(fresh + 1)), {})))
        fresh += 2
    return renumbered(graph, calls, graph.outputs)


def _product_of(graph: RowGraph, watched: Watched, readers: dict[int, list[int]], call: Call) -> Call | None:
    """The batched product that ``call`` transposes, if it may be turned; views between them are passed."""
    axes = list(call.arguments[1:]) if call.operation is _aten.transpose.int else list(call.arguments[-1:])
    axes = axes[0] if axes and isinstance(axes[0], list) else axes
    if call.operation not in _TRANSPOSITIONS or axes not in _MATRIX_AXES:
        return None
    source = refs_of(call)[0].index
    while source >= graph.first_call and len(readers.get(source, ())) == 1:
        made = graph.calls[source - graph.first_call]
        if made.operation is _aten.bmm.default:
            return made if _same_sums(*(watched.geometries[ref.index] for ref in refs_of(made))) else None
        geometry = watched.geometries[source]
        before = refs_of(made)[0].index if refs_of(made) else -1
        if before < 0 or geometry is None or geometry != watched.geometries[before]:
            return None  # not the same numbers in the same places
        source = before
    return None


def _same_sums(one: Any, other: Any) -> bool:
    """Whether the product has the same bits turned, tried with random numbers that lie the same."""
    generator = torch.Generator().manual_seed(0)
    a, b = (_random(geometry, generator) for geometry in (one, other))
    return torch.equal(torch.bmm(a, b).transpose(1, 2), torch.bmm(b.transpose(1, 2), a.transpose(1, 2)))


def _random(geometry: Any, generator: torch.Generator) -> Tensor:
    memory = torch.empty_strided(geometry.sizes, geometry.strides, dtype=geometry.dtype)
    return memory.copy_(torch.randn(geometry.sizes, generator=generator).to(geometry.dtype))
