"""The recipes for arrays of other packages on the client's page run as written: with the packages
where they are installed, else with stand-ins that offer what the recipes use."""
from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Dict, List

import numpy as np
import pytest
from codec_helpers import unpack
from ndring import _codec
from test_codec_convert import Exporter, Offerer, Tensor
from test_readme import blocks

PAGE = "docs/python.md"


def recipe(word: str) -> str:
    found = [block for block in blocks(PAGE, "py") if word in block]
    assert len(found) == 1
    return found[0]


class Cache:
    """Stores what the client would send."""

    def __init__(self) -> None:
        self._stored: Dict[str, _codec.Encoded] = {}

    def set(self, key: str, value: Any, convert: bool = False) -> bool:
        self._stored[key] = _codec.encode(value, convert=convert)
        return True

    def get(self, key: str) -> Any:
        return unpack(self._stored[key])


def package(name: str, **stand_ins: Any) -> Any:
    """Returns an installed package, or an object with the stand-ins."""
    return importlib.import_module(name) if importlib.util.find_spec(name.partition(".")[0]) else type(name, (), stand_ins)


class TorchTensor(Tensor):
    """As torch.Tensor, with what the recipe calls."""

    def cpu(self) -> "TorchTensor":
        return self

    def detach(self) -> "TorchTensor":
        return TorchTensor(self.array, self.dtype)

    def numpy(self) -> Any:
        return self.array


class Model:
    """As torch.nn.Module."""

    def __init__(self, state: Dict[str, Any]) -> None:
        self._state = state

    def state_dict(self) -> Dict[str, Any]:
        return self._state

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        self._state = state


def test_torch():
    torch = package("torch", from_numpy=staticmethod(TorchTensor))
    w, b = np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)
    model = Model({"w": torch.from_numpy(w.copy()), "b": torch.from_numpy(b.copy())})
    half = TorchTensor(b, "torch.bfloat16") if isinstance(torch, type) else torch.from_numpy(b).bfloat16()
    names = {"client": Cache(), "torch": torch, "model": model, "tensor": half}
    exec(recipe("torch."), names)
    assert list(model.state_dict()) == ["w", "b"]
    assert [x.numpy().tolist() for x in model.state_dict().values()] == [w.tolist(), b.tolist()]
    assert names["client"].get("half").tolist() == b.tolist()


def test_jax():
    jnp = package("jax.numpy", asarray=staticmethod(lambda x: Exporter(np.asarray(x))))
    w, b = jnp.asarray(np.ones((2, 3), np.float32)), jnp.asarray(np.arange(3, dtype=np.int32))
    names: dict = {"client": Cache(), "jnp": jnp, "w": w, "b": b}
    exec(recipe("jnp."), names)
    for name, before in (("w", w), ("b", b)):
        assert np.from_dlpack(names["params"][name]).tolist() == np.from_dlpack(before).tolist()


class Series(Offerer):
    """As pandas.Series and pandas.Index."""

    def to_numpy(self) -> Any:
        return self.array


class Frame:
    """As pandas.DataFrame."""

    def __init__(self, columns: Dict[str, Any], index: Any = None) -> None:
        self._columns = {name: Series(np.asarray(x)) for name, x in columns.items()}
        self.index = Series(np.asarray(index))

    def __getitem__(self, name: str) -> Series:
        return self._columns[name]

    def __iter__(self) -> Any:
        return iter(self._columns)


def test_pandas():
    pd = package("pandas", DataFrame=Frame)
    frame = pd.DataFrame({"price": [1.5, 2.5], "count": [3, 4]}, index=[10, 20])
    names: dict = {"client": Cache(), "pd": pd, "frame": frame}
    exec(recipe("pd."), names)
    back = names["frame"]
    assert back is not frame and list(back) == ["price", "count"] and back.index.to_numpy().tolist() == [10, 20]
    assert back["price"].to_numpy().tolist() == [1.5, 2.5] and back["count"].to_numpy().dtype == np.asarray([3]).dtype
    assert names["client"].get("prices").tolist() == [1.5, 2.5]


class DataArray(Offerer):
    """As xarray.DataArray."""

    def __init__(self, values: Any, dims: List[str], coords: Dict[str, Any]) -> None:
        super().__init__(np.asarray(values))
        self.dims = tuple(dims)
        self.coords = {name: type("Coordinate", (), {"values": np.asarray(x)}) for name, x in coords.items()}

    @property
    def values(self) -> Any:
        return self.array


def test_xarray():
    xr = package("xarray", DataArray=DataArray)
    field = xr.DataArray(np.ones((2, 3)), dims=["y", "x"], coords={"y": [1.0, 2.0], "x": [1, 2, 3]})
    names: dict = {"client": Cache(), "np": np, "xr": xr, "field": field}
    exec(recipe("xr."), names)
    back = names["field"]
    assert back is not field and back.dims == ("y", "x") and back.values.tolist() == field.values.tolist()
    assert {name: x.values.tolist() for name, x in back.coords.items()} == {"y": [1.0, 2.0], "x": [1, 2, 3]}
    cache = Cache()
    cache.set("alone", field, convert=True)
    assert cache.get("alone").tolist() == field.values.tolist()


@pytest.mark.parametrize("word", ["torch.", "jnp.", "pd.", "xr."])
def test_every_recipe_is_tested(word):
    assert recipe(word) and len(blocks(PAGE, "py")) == 4
