"""DCT algebra against scipy and against pixels; coefficients of files against Pillow's view of them."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap

import numpy as np
import PIL.Image
import pytest
import scipy.fft
import torch

from semcom.codecs import dct
from semcom.codecs.jpeg import Jpeg
from tests.fakes import smooth_image


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh each time; pytest shows the seed when a test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"rng seed {seed}")
    return np.random.default_rng(seed)


def blocks(pixels: np.ndarray, n: int) -> np.ndarray:
    """The n x n DCT of each block of ``[H, W]``, by scipy, block by block."""
    rows, columns = pixels.shape[0] // n, pixels.shape[1] // n
    cut = [[pixels[n * r : n * r + n, n * c : n * c + n] for c in range(columns)] for r in range(rows)]
    return np.array([[scipy.fft.dctn(block, norm="ortho") for block in row] for row in cut])


def samples(plane: np.ndarray) -> np.ndarray:
    """``[H, W]`` of a plane, by scipy's inverse."""
    pixels = scipy.fft.idctn(plane, axes=(-2, -1), norm="ortho")
    rows, columns, n, _ = plane.shape
    return pixels.transpose(0, 2, 1, 3).reshape(rows * n, columns * n)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32])
def test_the_basis_is_scipys(n: int) -> None:
    np.testing.assert_allclose(dct.basis(n), scipy.fft.dct(np.eye(n), axis=0, norm="ortho"), atol=1e-14)


@pytest.mark.parametrize(
    ("old", "new"), [(8, 16), (8, 4), (8, 32), (16, 8), (4, 8), (8, 8), (8, 24), (8, 12), (8, 1)]
)
def test_regrouping_is_the_transform_of_the_same_samples(
    old: int, new: int, rng: np.random.Generator
) -> None:
    matrix = dct.conversion(old, new)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
    pixels = rng.normal(0, 100, (96, 192))
    np.testing.assert_allclose(dct.regroup(blocks(pixels, old), new), blocks(pixels, new), atol=1e-10)
    pair = np.stack([blocks(pixels, old), 2 * blocks(pixels, old)])
    np.testing.assert_allclose(dct.regroup(pair, new)[1], 2 * blocks(pixels, new), atol=1e-10)


@pytest.mark.parametrize(("patch", "height", "width"), [(8, 64, 32), (8, 24, 40), (16, 48, 32), (32, 32, 96)])
def test_the_pull_back_is_the_convolution(
    patch: int, height: int, width: int, rng: np.random.Generator
) -> None:
    y = rng.normal(0, 300, (height // 8, width // 8, 8, 8))
    cb, cr = rng.normal(0, 300, (2, -(-height // 16), -(-width // 16), 8, 8))
    chroma = [samples(plane).repeat(2, 0).repeat(2, 1)[:height, :width] for plane in (cb, cr)]
    ycc = np.stack([samples(y), *chroma])
    red = ycc[0] + 1.402 * ycc[2]  # JFIF 1.02, section 7
    green = ycc[0] - 0.344136286 * ycc[1] - 0.714136286 * ycc[2]
    blue = ycc[0] + 1.772 * ycc[1]
    gain, offset = rng.normal(0, 0.02, 3), rng.normal(size=3)
    kernel, bias = rng.normal(size=(5, 3, patch, patch)), rng.normal(size=5)
    seen = torch.from_numpy(np.stack([red, green, blue]) + 128) * torch.from_numpy(gain)[:, None, None]
    seen = seen + torch.from_numpy(offset)[:, None, None]
    wanted = torch.nn.functional.conv2d(
        seen[None], torch.from_numpy(kernel), torch.from_numpy(bias), stride=patch
    )
    weight, constant = dct.pull_back(kernel, bias, gain, offset)
    rows = dct.patches(dct.Planes(y, cb, cr), patch)
    assert rows.dtype == np.float32 and rows.shape == (height * width // patch**2, patch**2 * 3 // 2)
    exact = np.concatenate(
        [
            dct.regroup(plane, size)[: height // patch, : width // patch].reshape(len(rows), -1)
            for plane, size in ((y, patch), (cb, patch // 2), (cr, patch // 2))
        ],
        axis=1,
    )
    np.testing.assert_allclose(rows, exact, rtol=1e-6, atol=1e-3)
    found = exact @ weight.T + constant
    np.testing.assert_allclose(found, wanted[0].flatten(1).T.numpy(), rtol=0, atol=1e-6)


def test_the_samples_of_a_grey_file_are_pillows(rng: np.random.Generator) -> None:
    codec = Jpeg()
    for quality in rng.integers(1, 96, 10):
        image = smooth_image(rng, (40, 72))[:, :, :1].repeat(3, 2)
        data = codec.encode(image, int(quality))
        planes, decoded = dct.read(data, (40, 72)), codec.decode(data, (40, 72))
        assert planes is not None and decoded is not None
        assert not planes.cb.any() and not planes.cr.any()
        mine = np.clip(np.rint(samples(planes.y) + 128), 0, 255)
        assert np.abs(mine - decoded[:, :, 0]).max() <= 1  # libjpeg's inverse DCT is one of integers


def test_coefficients_are_those_of_the_picture_up_to_half_a_step(rng: np.random.Generator) -> None:
    codec, size = Jpeg(), (48, 64)
    ycc_of_rgb = np.array(
        [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
    )
    for quality in rng.integers(1, 96, 10):
        image = smooth_image(rng, size, grain=20)
        ycc = np.einsum("hwc,kc->khw", image, ycc_of_rgb)
        chroma = ycc[1:].reshape(2, 24, 2, 32, 2).mean((2, 4))
        data = codec.encode(image, int(quality))
        planes = dct.read(data, size)
        assert planes is not None
        with PIL.Image.open(io.BytesIO(codec.restore(data, size))) as file:
            tables = [np.array(file.quantization[i]).reshape(8, 8) for i in (0, 1, 1)]  # type: ignore[attr-defined]
        for plane, truth, table in zip(planes, (ycc[0] - 128, *chroma), tables, strict=True):
            # libjpeg also rounds colours, means of 2 x 2 and the DCT: that moves a coefficient by about one
            assert (np.abs(plane - blocks(truth, 8)) <= table / 2 + 3).all(), quality
            assert np.array_equal(np.rint(plane / table) * table, plane)


def test_what_is_cut_or_goes_on_is_refused(rng: np.random.Generator) -> None:
    codec = Jpeg()
    for size in ((64, 64), (37, 91), (17, 8)):
        data = codec.encode(smooth_image(rng, size), int(rng.integers(1, 96)))
        planes = dct.read(data, size)
        assert planes is not None and planes.y.shape[:2] == (-(-size[0] // 8), -(-size[1] // 8))
        assert planes.cb.shape == planes.cr.shape == (-(-size[0] // 16), -(-size[1] // 16), 8, 8)
        for cut in (0, 1, 2, *rng.integers(3, len(data), 5)):
            assert dct.read(data[:cut], size) is None
        assert dct.read(data + rng.bytes(1), size) is None
        assert (
            dct.read(bytes([0]) + data[1:], size) is None and dct.read(bytes([96]) + data[1:], size) is None
        )
        assert dct.read(data, (size[0] + 16, size[1])) is None


def test_no_bytes_end_the_process() -> None:
    """libjpeg may end a process that gives it a broken file, so this is tried in another one."""
    program = """
        import numpy as np, sys, time
        from semcom.codecs import dct
        from semcom.codecs.jpeg import Jpeg
        from tests.fakes import smooth_image
        seed = int(sys.argv[1])
        rng = np.random.default_rng(seed)
        read = 0
        for trial in range(600):
            size = (64, 64) if trial % 2 else (24, 40)
            data = bytearray(Jpeg().encode(smooth_image(rng, size), int(rng.integers(1, 96))))
            if trial % 3 == 0:
                data = data[:1] + rng.bytes(int(rng.integers(0, 400)))
            elif trial % 3 == 1:
                for place in rng.integers(1, len(data), int(rng.integers(1, 9))):
                    data[place] ^= 1 << int(rng.integers(8))
            else:
                place = int(rng.integers(1, len(data)))
                markers = [b"\\xff\\xd8", b"\\xff\\xd9", b"\\xff\\xc4\\x00\\x02", b"\\xff" * 9]
                data[place : place + 4] = markers[trial % 4]
            planes = dct.read(bytes(data), size)
            if planes is not None:
                read += 1
                assert all(np.isfinite(p).all() and np.abs(p).max() <= 1023 * 255 for p in planes)
        print("done", read)
    """
    seed = str(np.random.SeedSequence().generate_state(1)[0])
    command = [sys.executable, "-c", textwrap.dedent(program), seed]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("done"), (seed, run.returncode, run.stderr[-2000:])
