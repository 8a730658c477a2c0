"""Tests the encoding of masks as bytes, and the decoding of valid and invalid bytes."""

import gzip

import numpy as np
import pytest

from hmmn_jax.paint.wire import decode, encode, most_bytes

SIZE = (7, 11)
MASKS = {
    "uint8": np.random.default_rng(0).integers(0, 256, SIZE, np.uint8),
    "uint16": np.random.default_rng(0).integers(0, 65536, SIZE, np.uint16),
}


@pytest.mark.parametrize("dtype", MASKS)
def test_a_mask_round_trip(dtype):
    body, found = encode(MASKS[dtype])
    little = gzip.decompress(body)
    assert found == dtype and little == bytes(MASKS[dtype].astype("<u2" if dtype == "uint16" else np.uint8))
    mask, unknown = decode(body, SIZE, False)
    assert unknown is None and mask.dtype == dtype and np.array_equal(mask, MASKS[dtype])
    pixels = np.random.default_rng(1).random(SIZE) < 0.5
    mask, unknown = decode(gzip.compress(little + pixels.tobytes()), SIZE, True)
    assert np.array_equal(mask, MASKS[dtype]) and np.array_equal(unknown, pixels)


def test_small_ids_in_two_bytes_are_ids_of_one():
    mask, _ = decode(gzip.compress(MASKS["uint8"].astype("<u2").tobytes()), SIZE, False)
    assert mask.dtype == np.uint8 and np.array_equal(mask, MASKS["uint8"])


def test_lengths_that_cannot_be():
    pixels = SIZE[0] * SIZE[1]
    for with_unknown, lengths in ((False, (1, 2)), (True, (2, 3))):
        for count in range(4 * pixels):
            body = gzip.compress(bytes(count))
            if count in [length * pixels for length in lengths]:
                decode(body, SIZE, with_unknown)
            else:
                with pytest.raises(ValueError, match="11x7 pixels"):
                    decode(body, SIZE, with_unknown)


def test_what_cannot_be_compressed_is_accepted():
    for size in ((1, 1), SIZE, (480, 864)):
        noise = np.random.default_rng(0).integers(0, 256, 3 * size[0] * size[1], np.uint8).tobytes()
        assert len(gzip.compress(noise, 0)) <= most_bytes(size)
