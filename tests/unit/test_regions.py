from typing import Any

import pytest
from strategies import field_of

from chatmark import InputError, Region
from chatmark.regions import check_base_url, resolve_base_url

# https://www.tencentcloud.com/document/product/1047/34620
HOSTS = {
    "CHINA": ("console.tim.qq.com", "adminapi.my-imcloud.com"),
    "SINGAPORE": ("adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com"),
    "SEOUL": ("adminapikr.im.qcloud.com", "adminapikr.my-imcloud.com"),
    "TOKYO": ("adminapijpn.im.qcloud.com", "adminapijpn.my-imcloud.com"),
    "FRANKFURT": ("adminapiger.im.qcloud.com", "adminapiger.my-imcloud.com"),
    "SILICON_VALLEY": ("adminapiusa.im.qcloud.com", "adminapiusa.my-imcloud.com"),
    "JAKARTA": ("adminapiidn.im.qcloud.com", "adminapiidn.my-imcloud.com"),
    "RIYADH": ("adminapiksa.im.qcloud.com", "adminapiksa.my-imcloud.com"),
    "MUMBAI": ("adminapiind.im.qcloud.com", "adminapiind.my-imcloud.com"),
}


class TestRegion:
    def test_hosts(self) -> None:
        """Each data centre has the vendor's host and its backup."""
        assert HOSTS == {each.name: (each.host, each.backup_host) for each in Region}

    @pytest.mark.parametrize("region", Region)
    def test_urls(self, region: Region) -> None:
        """Both hosts are reached over https, and their URLs are fit for a session."""
        host, backup = HOSTS[region.name]

        assert f"https://{host}" == check_base_url(region.url)
        assert f"https://{backup}" == check_base_url(region.backup_url)


class TestCheckBaseUrl:
    @pytest.mark.parametrize(
        ("given", "url"),
        [
            ("https://chat.example/", "https://chat.example"),
            ("https://chat.example:8443/proxy/", "https://chat.example:8443/proxy"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            *((url, url) for url in ("https://chat.example", "http://127.0.0.1:8080")),
            *(
                (url, url)
                for url in ("http://127.8.9.10", "http://localhost", "http://LOCALHOST:1")
            ),
        ],
    )
    def test_taken(self, given: str, url: str) -> None:
        """Https to anywhere and plain http to loopback are taken, without a trailing slash."""
        assert url == check_base_url(given)

    @pytest.mark.parametrize(
        "url",
        [
            *("http://chat.example", "http://10.0.0.1", "http://0.0.0.0", "http://2130706433"),
            *("http://localhost.example", "http://127.0.0.1.example"),
        ],
    )
    def test_plain_http(self, url: str) -> None:
        """Plain http to another machine is refused: it would show the signature."""
        with pytest.raises(InputError, match="loopback only") as caught:
            check_base_url(url)

        assert "base_url" == field_of(caught.value)

    def test_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain http goes to the hosts that the environment names, and never to Chat's."""
        monkeypatch.setenv("CHATMARK_HTTP_HOSTS", "emulator,10.0.0.7,console.tim.qq.com")
        for url in ("http://emulator:8085", "http://10.0.0.7"):
            assert url == check_base_url(url)
        for url in ("http://emulator.example", "http://console.tim.qq.com"):
            with pytest.raises(InputError, match="CHATMARK_HTTP_HOSTS"):
                check_base_url(url)

    @pytest.mark.parametrize(
        "url",
        [
            *("", "chat.example", "//chat.example", "ftp://chat.example", "https://", "https:///x"),
            *("https://[::1", "https://chat.example:port", "https://chat.example:99999"),
            *("https://chat.example?a=b", "https://chat.example#top", "https://user@chat.example"),
            *(" https://chat.example", "https://chat.example\n", "https://chat. example", 5, None),
            b"https://chat.example",
        ],
        ids=repr,
    )
    def test_refused(self, url: Any) -> None:
        """Anything but scheme, host, port and path is refused as input."""
        with pytest.raises(InputError) as caught:
            check_base_url(url)

        assert "base_url" == field_of(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "https://admin:hunter2@chat.example",
            "https://admin:hunter2",
            "https://admin:hunter2@chat\u2100.example",
            "https://chat.example?usersig=hunter2",
        ],
    )
    def test_no_secret(self, url: str) -> None:
        """A refusal does not repeat what may be a secret."""
        with pytest.raises(InputError) as caught:
            check_base_url(url)

        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


class TestResolveBaseUrl:
    def test_either(self) -> None:
        """A region means its host; a base URL is checked."""
        assert "https://console.tim.qq.com" == resolve_base_url(Region.CHINA, None)
        assert "http://[::1]" == resolve_base_url(None, "http://[::1]/")

    @pytest.mark.parametrize("name", ["silicon-valley", "Silicon_Valley", " SILICON_VALLEY "])
    def test_by_name(self, name: str) -> None:
        """A region is found by its name, however it is written."""
        assert Region.SILICON_VALLEY.url == resolve_base_url(name, None)

    @pytest.mark.parametrize(
        ("region", "base_url"),
        [(None, None), (Region.TOKYO, "https://x"), ("NOWHERE", None), (5, None)],
    )
    def test_refused(self, region: Any, base_url: str | None) -> None:
        """Neither, both, and a region that is none are refused."""
        with pytest.raises(InputError) as caught:
            resolve_base_url(region, base_url)

        assert "region" == field_of(caught.value)
