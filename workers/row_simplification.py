"""Row simplification: a row graph without what changes no bit of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workers.row_geometry import Geometry, Watched, is_pure, watch
from workers.row_graph import Call, Ref, RowGraph, mapped, mapped_call

_aten = torch.ops.aten
_COPIES = frozenset({_aten.clone.default, _aten._to_copy.default})
_PRODUCTS_BY_ONE = frozenset({_aten.mul.Scalar, _aten.mul.Tensor, _aten.div.Scalar})
_TRANSPOSITIONS = frozenset({_aten.transpose.int, _aten.permute.default})
_MATRIX_AXES = ([1, 2], [2, 1], [0, 2, 1])


def simplified(graph: RowGraph, inputs: Sequence[Tensor]) -> RowGraph:
    """``graph`` with the same outputs and effects, bit for bit.

    Left out: views that are what they are of, copies of what nobody writes into, products with one, what was
    computed before, what does not depend on ``inputs``, and what nobody reads. A product that is only wanted
    transposed is made transposed, where that is the same sums. ``inputs`` are of the graph's width; it may
    write into them.
    """
    plain = _with_constants(graph, watch(graph, inputs))
    turned = _turned(plain, watch(plain, inputs), inputs[0].device)
    return _without_unread(_without_repeats(turned, watch(turned, inputs)))


def _with_constants(graph: RowGraph, watched: Watched) -> RowGraph:
    """Values that are the same whatever the inputs are taken as they were once."""
    first, held = graph.first_call, graph.inputs + len(graph.constants)
    folded = [place for place in range(first, first + len(graph.calls)) if place in watched.constants]
    left = [place for place in range(first, first + len(graph.calls)) if place not in watched.constants]
    places = {place: Ref(place) for place in range(first)}
    places |= {place: Ref(held + index) for index, place in enumerate(folded)}
    places |= {place: Ref(held + len(folded) + index) for index, place in enumerate(left)}

    def placed(value: Any) -> Any:
        return places[value.index] if isinstance(value, Ref) else value

    return RowGraph(
        inputs=graph.inputs,
        constants=(*graph.constants, *(watched.constants[place] for place in folded)),
        calls=tuple(mapped_call(graph.calls[place - first], placed) for place in left),
        outputs=tuple(mapped(list(graph.outputs), placed)),
    )


def _without_repeats(graph: RowGraph, watched: Watched) -> RowGraph:
    """Every value that equals an earlier one is replaced by it."""
    same: dict[int, Ref] = {}
    known: dict[Any, int] = {}
    for place, geometry in enumerate(watched.geometries[: graph.first_call]):
        known.setdefault(geometry, place)
    readers = _readers(graph)
    calls = []
    for place, call in enumerate(graph.calls, start=graph.first_call):
        call = mapped_call(call, lambda value: _replaced(value, same))
        calls.append(call)
        geometry = watched.geometries[place]
        earlier = known.setdefault(geometry, place) if geometry is not None else place
        if earlier == place and is_pure(call) and _changes_nothing(call, place, watched, readers):
            earlier = call.refs[0].index
        unchanged = not any(watched.is_changed(ref.index) for ref in (*call.refs, Ref(place)))
        if earlier == place and is_pure(call) and unchanged:
            earlier = known.setdefault(_written_out(call), place)
        if earlier != place:
            same[place] = Ref(earlier)
    outputs = tuple(same.get(ref.index, ref) for ref in graph.outputs)
    return RowGraph(inputs=graph.inputs, constants=graph.constants, calls=tuple(calls), outputs=outputs)


def _replaced(value: Any, same: dict[int, Ref]) -> Any:
    return same.get(value.index, value) if isinstance(value, Ref) else value


def _changes_nothing(call: Call, place: int, watched: Watched, readers: Mapping[int, list[Call]]) -> bool:
    """Whether it copies, or multiplies with one, something that stays as it is and may be read instead."""
    by_one = call.operation in _PRODUCTS_BY_ONE and call.arguments[1:] == (1,)
    if not by_one and call.operation not in _COPIES:
        return False
    (source,) = call.refs
    given, made = watched.geometries[source.index], watched.geometries[place]
    if given is None or made is None or watched.is_changed(source.index) or watched.is_changed(place):
        return False
    alike = (given.sizes, given.dtype) == (made.sizes, made.dtype)
    return alike and (
        given.lies_like(made) or (by_one and all(_can_view(given, one) for one in readers[place]))
    )


def _can_view(geometry: Geometry, call: Call) -> bool:
    """Whether ``call`` is a view that there is of a tensor that lies so."""
    if call.operation is not _aten.view.default:
        return False
    memory = torch.empty_strided(geometry.sizes, geometry.strides, dtype=geometry.dtype, device="meta")
    try:
        memory.view(call.arguments[1])
    except RuntimeError:
        return False
    return True


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
            read.update(ref.index for ref in call.refs)
    kept.reverse()
    return renumbered(graph, [(place, graph.calls[place - first]) for place in kept], graph.outputs)


def _readers(graph: RowGraph) -> dict[int, list[Call]]:
    """The operations that are given each value, an output's destination aside."""
    readers: dict[int, list[Call]] = {}
    for place, call in enumerate(graph.calls, start=graph.first_call):
        readers.setdefault(place, [])
        for ref in call.refs:
            readers.setdefault(ref.index, []).append(call)
    return readers


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


def _turned(graph: RowGraph, watched: Watched, device: torch.device) -> RowGraph:
    """``(a b)^T`` as ``b^T a^T`` where nothing but an output reads it and no bit is another.

    Gradients of weights come so from autograd, and copying a transposed matrix is slow.
    """
    readers = _readers(graph)
    wanted = {ref.index for ref in graph.outputs}
    calls: list[tuple[int, Call]] = []
    fresh = graph.first_call + len(graph.calls)
    for place, call in enumerate(graph.calls, start=graph.first_call):
        wanted_only = place in wanted and not readers[place]
        product = _product_of(graph, watched, readers, call) if wanted_only else None
        if product is None or not _same_sums(product, watched, device):
            calls.append((place, call))
            continue
        one, other = product.arguments
        calls.append((fresh, Call(_aten.transpose.int, (other, 1, 2), {})))
        calls.append((fresh + 1, Call(_aten.transpose.int, (one, 1, 2), {})))
        calls.append((place, Call(_aten.bmm.default, (Ref(fresh), Ref(fresh + 1)), {})))
        fresh += 2
    return renumbered(graph, calls, graph.outputs)


def _product_of(
    graph: RowGraph, watched: Watched, readers: Mapping[int, list[Call]], call: Call
) -> Call | None:
    """The batched product that ``call`` transposes, if it may be turned; views between them are passed."""
    axes = list(call.arguments[1:]) if call.operation is _aten.transpose.int else list(call.arguments[-1:])
    axes = axes[0] if axes and isinstance(axes[0], list) else axes
    if call.operation not in _TRANSPOSITIONS or axes not in _MATRIX_AXES:
        return None
    source = call.refs[0].index
    while source >= graph.first_call and len(readers.get(source, ())) == 1:
        made = graph.calls[source - graph.first_call]
        if made.operation is _aten.bmm.default:
            return made
        geometry = watched.geometries[source]
        before = made.refs[0].index if made.refs else -1
        if before < 0 or geometry is None or geometry != watched.geometries[before]:
            return None  # not the same numbers in the same places
        source = before
    return None


def _same_sums(product: Call, watched: Watched, device: torch.device) -> bool:
    """Whether the product has the same bits turned, tried with random numbers that lie the same."""
    generator = torch.Generator().manual_seed(0)
    tried = []
    for ref in product.refs:
        geometry = watched.geometries[ref.index]
        assert geometry is not None  # noqa: S101 - a product is of tensors
        numbers = torch.randn(geometry.sizes, generator=generator, dtype=torch.float64)
        memory = torch.empty_strided(geometry.sizes, geometry.strides, dtype=geometry.dtype, device=device)
        tried.append(memory.copy_(numbers))
    one, other = tried
    turned = torch.bmm(other.transpose(1, 2), one.transpose(1, 2))
    return torch.equal(torch.bmm(one, other).transpose(1, 2), turned)
