"""Detection against Sionna, textbook formulas and exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from channels.errors import InputError
from channels.mimo.detect import LINEAR, detect, equalise
from channels.modem import modem

from .oracles import left_over, linear_filter, normal

SIZES = [(1, 1), (2, 1), (2, 2), (4, 4), (8, 3), (64, 4), (2, 3), (3, 5)]


@pytest.mark.parametrize(("antennas", "streams"), SIZES)
def test_equalisers_agree_with_sionna(antennas: int, streams: int, seed: int) -> None:
    from sionna.phy.mimo import lmmse_equalizer, mf_equalizer, zf_equalizer

    rng, theirs = (
        np.random.default_rng(seed),
        {"lmmse": lmmse_equalizer, "zf": zf_equalizer, "mrc": mf_equalizer},
    )
    y, h = torch.from_numpy(normal(rng, 200, antennas)), torch.from_numpy(normal(rng, 200, antennas, streams))
    no = torch.from_numpy(10 ** rng.uniform(-3, 1, 200)).float()
    covariance = (no[:, None, None] * torch.eye(antennas)).to(torch.complex128)
    for detector in LINEAR if streams <= antennas else ("lmmse", "mrc"):
        x_hat, no_eff = equalise(y, h, no, detector)
        expected = theirs[detector](y, h, covariance, precision="double")
        tolerance = 1e-3 if detector == "zf" else 1e-4  # Sionna's pseudo-inverse loses more digits
        assert x_hat.dtype == torch.complex64 and no_eff.dtype == torch.float32
        assert torch.allclose(x_hat, expected[0].to(torch.complex64), rtol=tolerance, atol=1e-5)
        assert torch.allclose(no_eff, expected[1].float(), rtol=tolerance)


@pytest.mark.parametrize(("antennas", "streams"), SIZES)
def test_variances_are_those_of_the_formula(antennas: int, streams: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, y = normal(rng, antennas, streams), normal(rng, antennas)
    for detector, no in itertools.product(
        LINEAR if streams <= antennas else ("lmmse", "mrc"), (1e-5, 0.1, 10.0)
    ):
        x_hat, no_eff = equalise(torch.from_numpy(y), torch.from_numpy(h), torch.tensor(no), detector)
        w = linear_filter(h, no, detector)
        np.testing.assert_allclose(no_eff, left_over(w, h, no), rtol=1e-4)
        np.testing.assert_allclose(x_hat, w @ y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("detector", LINEAR)
def test_noise_that_is_measured_is_noise_that_is_said(detector: str, seed: int) -> None:
    rng, n, no = np.random.default_rng(seed), 100_000, 0.2
    h = torch.from_numpy(normal(rng, 1, 4, 3) / 3**0.5)
    x, w = (torch.from_numpy(normal(rng, n, k)) for k in (3, 4))
    y = (h @ x[..., None])[..., 0] + no**0.5 * w
    x_hat, no_eff = equalise(y, h, torch.tensor(no), detector)
    error = (x_hat - x).numpy().astype(np.complex128)
    ratio = np.abs(error) ** 2 / no_eff.numpy()
    assert np.all(np.abs(ratio.mean(axis=0) - 1) < 5 * ratio.std(axis=0) / n**0.5)
    gain_error = (error * x.numpy().conj()).mean(axis=0)
    assert np.all(np.abs(gain_error) < 5 * np.sqrt(no_eff[0].numpy() / n) * 2)


@pytest.mark.parametrize(("antennas", "streams"), SIZES)
def test_a_result_does_not_depend_on_what_else_is_there(antennas: int, streams: int, seed: int) -> None:
    rng, n = np.random.default_rng(seed), 1500  # more than are worked on at once
    y, h = torch.from_numpy(normal(rng, n, antennas)), torch.from_numpy(normal(rng, n, antennas, streams))
    no = torch.from_numpy(rng.uniform(0.01, 1, n)).float()
    for detector in LINEAR:
        x_hat, no_eff = equalise(y, h, no, detector)
        for _ in range(5):
            some = torch.from_numpy(rng.permutation(n)[: rng.integers(1, 60)])
            part = equalise(y[some], h[some], no[some], detector)
            assert torch.equal(part[0], x_hat[some]) and torch.equal(part[1], no_eff[some])


def test_a_channel_may_be_shared_by_uses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, h = torch.from_numpy(normal(rng, 3, 5, 7, 4)), torch.from_numpy(normal(rng, 3, 5, 1, 4, 2))
    no = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    shared = equalise(y, h, no)
    apart = equalise(y, h.expand(-1, -1, 7, -1, -1), no.expand(3, 5, 7))
    assert shared[0].shape == shared[1].shape == (3, 5, 7, 2)
    assert all(torch.equal(a, b) for a, b in zip(shared, apart, strict=True))


def test_one_stream_is_combined_alike_by_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, h = torch.from_numpy(normal(rng, 20, 4)), torch.from_numpy(normal(rng, 20, 4, 1))
    results = [equalise(y, h, torch.tensor(0.3), detector) for detector in LINEAR]
    assert all(torch.equal(r[0], results[0][0]) and torch.equal(r[1], results[0][1]) for r in results)
    assert torch.allclose(results[0][1][:, 0], 0.3 / h.abs().square().sum(dim=(1, 2)))


@pytest.mark.parametrize("detector", LINEAR)
def test_broken_matrices_give_finite_results(detector: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    h = normal(rng, 4, 4, 3)
    h[1, :, 1] = h[1, :, 0]  # two streams that look the same
    h[2, :, 2] = 0  # a stream that does not arrive
    h[3] = 0
    y = normal(rng, 4, 4)
    for no in (1e-15, 1e-6, 1e15):
        for value in equalise(torch.from_numpy(y), torch.from_numpy(h), torch.tensor(no), detector):
            assert bool(value.isfinite().all())


def test_ill_conditioned_matrices_keep_their_precision(seed: int) -> None:
    """Singular values of 1 and 1e-3: H^H H in single precision would be off by 10 %."""
    rng, no = np.random.default_rng(seed), 1e-7
    u, _, v = np.linalg.svd(normal(rng, 2, 2))
    h = ((u * [1, 1e-3]) @ v).astype(np.complex64)
    for detector in ("lmmse", "zf"):
        w = linear_filter(h, no, detector)
        x_hat, no_eff = equalise(
            torch.from_numpy((h @ [1, 1j]).astype(np.complex64)),
            torch.from_numpy(h),
            torch.tensor(no),
            detector,
        )
        np.testing.assert_allclose(no_eff, left_over(w, h, no), rtol=1e-3)
        assert np.all(np.abs(x_hat.numpy() - w @ (h @ [1, 1j])) < 0.5 * no_eff.numpy() ** 0.5)


def test_gradients_are_those_of_a_linear_filter(seed: int) -> None:
    rng, no = np.random.default_rng(seed), 0.2
    h, c = normal(rng, 4, 3), torch.from_numpy(normal(rng, 3))
    for detector in LINEAR:
        y, channel = torch.from_numpy(normal(rng, 4)).requires_grad_(), torch.from_numpy(h).requires_grad_()
        x_hat, no_eff = equalise(y, channel, torch.tensor(no), detector)
        gradient, other = torch.autograd.grad((c.conj() * x_hat).sum().real + no_eff.sum(), (y, channel))
        expected = linear_filter(h, no, detector).conj().T @ c.numpy()
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)
        assert bool((other.abs() > 0).all())


def exhaustive(y: np.ndarray, h: np.ndarray, no: float, bits: int) -> np.ndarray:
    """LLRs [K, bits] from all candidates."""
    streams = h.shape[1]
    labels = np.array(list(itertools.product([0, 1], repeat=bits * streams)), np.uint8)
    x = modem(bits).map(labels).numpy().astype(np.complex128)
    metric = -(np.abs(y - x @ h.T) ** 2).sum(axis=1) / no
    llr = [
        np.logaddexp.reduce(metric[labels[:, b] == 1]) - np.logaddexp.reduce(metric[labels[:, b] == 0])
        for b in range(bits * streams)
    ]
    return np.array(llr).reshape(streams, bits)


def sent(antennas: int, streams: int, bits: int, no: float, n: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    b = rng.integers(0, 2, (1, n * streams * bits), np.uint8)
    x = modem(bits).map(b).numpy().reshape(n, streams)
    h = normal(rng, n, antennas, streams) / np.float32(streams**0.5)
    y = (h @ x[..., None])[..., 0] + np.float32(no**0.5) * normal(rng, n, antennas)
    return b.reshape(n, streams, bits), y, h


@pytest.mark.parametrize("no", [0.05, 3.0])
def test_k_best_with_all_candidates_is_exact(no: float, seed: int) -> None:
    """16 candidates of two QPSK streams: all are kept."""
    _, y, h = sent(3, 2, 2, no, 50, seed)
    llr = detect(torch.from_numpy(y)[None], torch.from_numpy(h)[None], torch.tensor([[no]]), 2, "kbest")
    expected = np.stack([exhaustive(a, b, no, 2) for a, b in zip(y, h, strict=True)])
    np.testing.assert_allclose(llr[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bits", [2, 4])
def test_joint_detection_of_one_stream_is_demapping(bits: int, seed: int) -> None:
    _, y, h = sent(2, 1, bits, 0.1, 60, seed)
    y, h, no = torch.from_numpy(y)[None], torch.from_numpy(h)[None], torch.tensor([[0.1]])
    expected = modem(bits).demap(*(a.flatten(1) for a in equalise(y, h, no)))
    for detector in ("kbest", "ep"):
        llr = detect(y, h, no, bits, detector).flatten(1)
        assert bool(
            (llr - expected).abs().max() < 1e-3 + 0.7 * (detector == "ep")
        )  # EP: the larger of two, log 2


def test_joint_detection_decides_better_than_lmmse(seed: int) -> None:
    bits, no, n = 4, 10**-1.8, 600
    b, y, h = sent(4, 4, bits, no, n, seed)
    y, h, variance = torch.from_numpy(y)[None], torch.from_numpy(h)[None], torch.tensor([[no]])
    linear = modem(bits).demap(*(a.flatten(1) for a in equalise(y, h, variance)))
    errors = {"lmmse": ((linear.numpy() > 0) != b.reshape(1, -1)).mean()}
    for detector in ("kbest", "ep"):
        errors[detector] = ((detect(y, h, variance, bits, detector)[0].numpy() > 0) != b).mean()
    assert errors["kbest"] < errors["ep"] < errors["lmmse"]


def test_k_best_keeps_the_paths_that_sionna_keeps(seed: int) -> None:
    """Sionna weighs the best path of each bit value, we all 64; a bit value without a path gets +-20 there."""
    from sionna.phy.mimo import KBestDetector

    no = 0.02
    _, y, h = sent(4, 3, 4, no, 60, seed)
    covariance = (no * torch.eye(4)).to(torch.complex64).expand(60, -1, -1)
    with torch.compiler.set_stance("force_eager"):
        theirs = KBestDetector("bit", 3, 64, "qam", 4, precision="double")(
            torch.from_numpy(y), torch.from_numpy(h), covariance
        ).float()
    ours = detect(torch.from_numpy(y)[None], torch.from_numpy(h)[None], torch.tensor([[no]]), 4, "kbest")[0]
    both = theirs.abs() < 20
    assert bool(both.any()) and bool(((ours - theirs)[both].abs() < np.log(64)).all())
    assert torch.equal((ours > 0)[~both], (theirs > 0)[~both])


@pytest.mark.parametrize("detector", ["kbest", "ep"])
def test_llrs_of_a_row_are_its_own(detector: str, seed: int) -> None:
    _, y, h = sent(3, 3, 4, 0.05, 80, seed)
    y, h = torch.from_numpy(y).reshape(4, 20, 3), torch.from_numpy(h).reshape(4, 20, 3, 3)
    no = torch.tensor([[0.1], [0.2], [0.01], [1.0]])
    llr = detect(y, h, no, 4, detector)
    assert llr.shape == (4, 20, 3, 4) and bool(llr.isfinite().all())
    for rows in ([2], [3, 0], [1, 2, 3]):
        assert torch.equal(detect(y[rows], h[rows], no[rows], 4, detector), llr[rows])


def test_unknown_detectors() -> None:
    y, h, no = torch.ones(1, 1, 2) + 0j, torch.ones(1, 1, 2, 1) + 0j, torch.ones(1, 1)
    with pytest.raises(InputError, match="Did you mean 'lmmse'"):
        equalise(y, h, no, "mmse")
    with pytest.raises(InputError, match="Did you mean 'kbest'"):
        detect(y, h, no, 2, "k-best")
