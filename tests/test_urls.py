"""What is read as a URL, and what two clients could read differently and is none."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest

from celery_jobs import InvalidUrl
from celery_jobs.addresses import MOST_URL_CHARACTERS, parse_url

SPELLINGS_OF_LOOPBACK = (
    *("127.1", "127.0.1", "0x7f.1", "0x7f.0x0.0x0.0x1", "0x7f000001", "0X7F000001", "2130706433", "0177.0.0.1"),
    *("017700000001", "0", "00", "0x0", "127.0.0.01", "127.0.0.0x1", "0.0", "0x0.0.0"),
)
OTHER_NUMBERS = ("0x", "0000127.0.0.1", "127.0.0.1.1", "127.0.0.08", "127..1", "4294967296", "127.0.0.256", "a.0x7f")
OTHER_DIGITS = ("①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1")  # noqa: RUF001
NOT_URLS = {
    "scheme": [
        *(
            "file:///etc/passwd",
            "gopher://example.com/_x",
            "ftp://example.com/",
            "data:text/plain,hi",
            "unix:///x.sock",
        ),
        *("http+unix://%2Frun%2Fx.sock/", "javascript:alert(1)", "//example.com/", "http:/example.com", "http:example"),
        *("", "example.com", "/path", "ws://example.com/", "dict://127.0.0.1:11211/stat", "ħttp://a.com/"),
    ],
    "credentials": ["http://a@127.0.0.1/", "http://user:secret@example.com/", "http://a.com@b.com/", "http://@a.com/"],
    "characters": [
        *("http://127.0.0.1\\@a.com/", "http://a.com\\.evil.com/", "http:\\\\a.com/", "http://a.com/\\b"),
        *(
            "http://a.com\t.evil.com/",
            "http://a.com\r\nX: y/",
            "http://a.com/\nx",
            "ht\ntp://a.com/",
            "http://a.com/a b",
        ),
        *(
            " http://a.com/",
            "http://a.com/ ",
            "http://a .com/",
            "http://a.com/\x00",
            "http://a.com/\x7f",
            "\x1fhttp://a/",
        ),
        *("http://a.com/\u2028", "http://a\u200b.com/", "http://a.com/\u202egnp.exe", "http://a\u00ad.com/"),
    ],
    "fragment": ["http://a.com#@127.0.0.1", "http://a.com/#", "http://a.com/#part"],
    "host": [
        *(
            "http://:80/",
            "http://?q",
            "https:///path",
            "http://127%2e0.0.1/",
            "http://%31%32%37.0.0.1/",
            "http://a..b/",
        ),
        *(
            "http://.a.com/",
            "http://a.com../",
            "http://-a.com/",
            "http://a-.com/",
            f"http://{'a' * 64}.com/",
            "http://./",
        ),
        *("http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[::1/", "http://[::1]x/", "http://[v1.x]/"),
        *(
            "http://[127.0.0.1]/",
            "http://[]/",
            "http://1.2.3.4.5/",
            "http://256.0.0.1/",
            "http://1.2.3/",
            "http://a.1/",
        ),
        *(
            "http://a_b!.com/",
            "http://a,b.com/",
            "http://<a>.com/",
            "http://xn--/",
            "http://xn--a.com/",
            "http://Ⅷ.com/",
        ),
        f"http://{'.'.join(['abcdefgh'] * 29)}/",
    ],
    "port": [
        *("http://a.com:/", "http://a.com:0/", "http://a.com:65536/", "http://a.com:080/", "http://a.com:+80/"),
        *(
            "http://a.com:-1/",
            "http://a.com:8\uff10/",
            "http://a.com:80:80/",
            "http://[::1]:x/",
            "http://a.com:99999999999/",
        ),
    ],
    "length": ["http://a.com/" + "x" * MOST_URL_CHARACTERS],
}


@pytest.mark.parametrize("spelling", SPELLINGS_OF_LOOPBACK)
def test_a_spelling_that_the_resolver_takes_for_this_machine_is_no_url(spelling: str) -> None:
    """Not even where the address is allowed: nobody writes it so who means it well."""
    assert socket.inet_ntoa(socket.inet_aton(spelling)) in ("127.0.0.1", "0.0.0.0"), "the attack would not work"
    with pytest.raises(InvalidUrl):
        parse_url(f"http://{spelling}/")


@pytest.mark.parametrize("spelling", OTHER_NUMBERS)
def test_what_ends_in_a_number_is_an_address_or_nothing(spelling: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(f"http://{spelling}/")


@pytest.mark.parametrize("spelling", OTHER_DIGITS)
def test_digits_and_dots_of_other_scripts_are_no_address(spelling: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(f"http://{spelling}/")


@pytest.mark.parametrize(
    ("part", "url"),
    [pytest.param(part, url, id=f"{part}-{url[:30]!r}") for part, some in NOT_URLS.items() for url in some],
)
def test_what_two_clients_could_read_differently_is_no_url(part: str, url: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parse_url(url)
    assert refused.value.part == part
    assert "secret" not in str(refused.value)


def test_a_url_is_read_into_its_parts() -> None:
    read = parse_url("HTTPS://API.Example.COM.:8443/a/b?c=ü&d=%20")
    assert (read.scheme, read.host, read.port) == ("https", "api.example.com", 8443)
    assert read.target == "/a/b?c=ü&d=%20"
    assert read.url == "https://api.example.com:8443/a/b?c=ü&d=%20"
    assert (read.written, read.address) == ("API.Example.COM.", None)


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("http://a.com", "http://a.com/"),
        ("http://a.com?q", "http://a.com/?q"),
        ("http://a.com:80/", "http://a.com/"),
        ("https://a.com:443/", "https://a.com/"),
        ("https://a.com:80/", "https://a.com:80/"),
        ("http://[2606:4700:4700::1111]:8080/x", "http://[2606:4700:4700::1111]:8080/x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://my_service.example.com/", "http://my_service.example.com/"),
    ],
)
def test_a_url_is_normalised(url: str, normalised: str) -> None:
    assert parse_url(url).url == normalised
    assert parse_url(normalised).url == normalised


def test_what_is_read_is_what_other_clients_read() -> None:
    """Whoever reads another host in a URL would let the one pass and connect to the other."""
    chance = random.Random(7)
    pieces = ["http", "https", ":", "//", "/", "\\", "@", "#", "?", "[", "]", "::1", "127.0.0.1", "a.com", "b.de", "."]
    pieces += [
        "%00",
        "%2e",
        "\t",
        "\r\n",
        " ",
        ":80",
        ":0",
        "0x7f",
        "1",
        "\u3002",
        "\uff10",
        "ü",
        "-",
        "_",
        "*",
        "\u00ad",
    ]
    accepted = 0
    for _ in range(30_000):
        text = chance.choice(("http://", "https://", "")) + "".join(chance.choices(pieces, k=chance.randint(1, 5)))
        with suppress(InvalidUrl):
            read = parse_url(text)
            accepted += 1
            assert httpx.URL(text).raw_host.decode().removesuffix(".") == read.host, text
            assert (httpx.URL(text).port or {"http": 80, "https": 443}[read.scheme]) == read.port, text
            if text.isascii():
                assert (urlsplit(text).hostname or "").removesuffix(".") == read.host, text
    assert accepted > 1000
