import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from project.runtime.arrow import CellError
from project.schema import Schema
from project.schema.image import Image
from project.schema.pixels import MAX_PIXELS, Header, Size, decode, encode_png, read_header

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOURS = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 30)], axis=2)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(value):
    exif = Pillow.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (Pillow.fromarray(RAMP), 1, RAMP[None]),
        (Pillow.fromarray(RAMP), 3, np.stack([RAMP] * 3)),
        (Pillow.fromarray(COLOURS), 3, COLOURS.transpose(2, 0, 1)),
        (Pillow.fromarray(RAMP.astype(np.uint16) * 257), 1, RAMP[None]),  # 16 bits
        (Pillow.fromarray(RAMP > 100), 1, (RAMP > 100)[None] * np.uint8(255)),
        (Pillow.fromarray(COLOURS).quantize(256), 3, COLOURS.transpose(2, 0, 1)),  # a palette
        (Pillow.fromarray(np.dstack([COLOURS, np.zeros_like(RAMP)])), 3, np.full((3, 4, 6), 255)),  # transparent
        (Pillow.fromarray(np.dstack([COLOURS, np.full_like(RAMP, 255)])), 3, COLOURS.transpose(2, 0, 1)),
    ],
    ids=["grey", "grey as colours", "colours", "16 bits", "1 bit", "palette", "transparent", "opaque"],
)
def test_every_kind_of_pixels_becomes_8_bits(image, channels, expected):
    assert np.array_equal(decode(saved(image), Size(channels, 4, 6)), expected)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF"])
def test_formats_without_loss_keep_their_pixels(kind):
    data = saved(Pillow.fromarray(RAMP), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(decode(data, Size(1, 4, 6)), RAMP[None])


def test_a_photo_in_four_inks_keeps_its_colours():
    red = Pillow.new("RGB", (16, 16), (200, 40, 40))
    found = decode(saved(red.convert("CMYK"), "JPEG", quality=95), Size(3, 16, 16))
    assert np.abs(found.mean((1, 2)) - (200, 40, 40)).max() < 4


@pytest.mark.parametrize(("value", "expected"), [(3, RAMP[::-1, ::-1]), (6, np.rot90(RAMP, -1)), (8, np.rot90(RAMP))])
def test_turns_of_exif_are_followed(value, expected):
    data = saved(Pillow.fromarray(RAMP), exif=oriented(value))
    assert read_header(data) == Header(True, *expected.shape)
    assert np.array_equal(decode(data, Size(1, *expected.shape)), expected[None])


@pytest.mark.parametrize(("fit", "columns"), [("crop", [100, 200]), ("stretch", [50, 250]), ("pad", None)])
def test_other_ratios_are_cut_distorted_or_padded(fit, columns):
    image = np.repeat(np.uint8([[0, 100, 200, 255]]), 20, axis=0).repeat(10, axis=1)  # 20 x 40
    found = decode(saved(Pillow.fromarray(image)), Size(1, 20, 20, fit))[0]
    assert found.shape == (20, 20)
    assert {"crop": found[10, 2] == 100, "stretch": found[10, 0] == 0, "pad": found[0, 19] == 0}[fit]
    assert {"crop": found[10, 17] == 200, "stretch": found[10, 19] == 255, "pad": found[10, 19] > 250}[fit]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"not an image at all", "is not an image (of no known format)"),
        (saved(Pillow.effect_noise((64, 64), 50))[:-200], "cannot be decoded"),
        (saved(Pillow.effect_noise((64, 64), 50), "JPEG")[:400], "cannot be decoded"),
        (saved(Pillow.fromarray(RAMP.astype(np.int32)), "TIFF"), "32 bits"),
        (saved(Pillow.new("1", (2**13 + 1, 2**13))), f"more than {MAX_PIXELS:,}"),  # 8 KB of file
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),  # Pillow would run Ghostscript
    ],
    ids=["empty", "text", "half a PNG", "half a JPEG", "32 bits", "bomb", "a program"],
)
def test_what_is_no_usable_image_is_refused(data, problem):
    with pytest.raises(CellError) as error:
        decode(data, Size(1, 4, 6))
    assert problem in str(error.value)


def test_a_field_of_images_reads_bytes_and_base64_and_writes_what_it_reads():
    field = Image("photo", size=Size(3, 4, 6))
    data = encode_png(COLOURS.transpose(2, 0, 1))
    as_bytes = pa.table({"photo": pa.array([data, None])})
    as_text = pa.table({"photo": [base64.b64encode(data).decode(), ""]})
    schema = Schema.from_list(Schema([field]).to_list())
    for table in (as_bytes, as_text):
        parsed = schema.parse(table)
        x = schema.encode(parsed)
        assert np.array_equal(x[0].reshape(3, 4, 6), COLOURS.transpose(2, 0, 1))
        assert np.isnan(x[1]).all()
        assert schema.missing(parsed)[:, 0].tolist() == [False, True]
        again = pa.table({"photo": [row["photo"] for row in schema.decode(x)]})
        assert np.array_equal(schema.encode(schema.parse(again)), x, equal_nan=True)


def test_a_damaged_size_of_a_field_is_refused():
    [settings] = Schema([Image("photo")]).to_list()
    for wrong in ({"channels": 2}, {"height": 0}, {"width": 2**20}, {"fit": "round"}):
        with pytest.raises(ValueError, match="invalid size"):
            Schema.from_list([settings | wrong])
