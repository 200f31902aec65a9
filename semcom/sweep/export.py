"""Results as files for other programs. Equal results give equal CSV files, whatever ran them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from channels.errors import InputError
from semcom.sweep.results import Results

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("points", "samples", "corpus", "failures")


def tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """All tables of a run, each in its canonical order: the plan's, then task, sample and query.

    ``points``: :meth:`Results.to_frame`; ``samples``: single answers; ``corpus``: metrics of whole test sets;
    ``failures``: what could not be computed, without tracebacks.
    """
    results = Results.open(folder)
    failures = results.failures().drop(columns=["error", "trace"])  # they name paths and times
    return dict(zip(TABLES, (results.to_frame(), results.samples(), results.corpus(), failures), strict=True))


def csv(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """``points.csv``, ``samples.csv``, ... in ``out`` (by default the folder itself). Numbers are written so that
    reading them gives the same bits; what is not there is empty."""
    return [
        _write(out or folder, f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
        for name, table in tables(folder).items()
    ]


def parquet(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """``points.parquet``, ``samples.parquet``, ..."""
    return [
        _write(out or folder, f"{name}.parquet", table.to_parquet(index=False, engine="pyarrow"))
        for name, table in tables(folder).items()
    ]


def netcdf(folder: str | Path, out: str | Path | None = None) -> list[Path]:
    """``results.nc``: the cube of :meth:`Results.to_xarray`, in NetCDF 3."""
    cube = Results.open(folder).to_xarray()
    cube.attrs["seed"] = str(cube.attrs["seed"])  # may have 63 bits, the format has 32
    return [_write(out or folder, "results.nc", bytes(cube.to_netcdf(engine="scipy")))]


FORMATS = {"csv": csv, "parquet": parquet, "netcdf": netcdf}


def _write(folder: str | Path, name: str, content: bytes) -> Path:
    path = Path(folder) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return path
