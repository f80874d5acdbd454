from __future__ import annotations

import pytest

from layoutloop.connect.shim_address import ShimAddress, check_shim
from layoutloop.errors import NotConnected
from tests.far_servers import serve


def test_a_shim_that_is_not_called_so_says_which_setting_it_needs() -> None:
    body = b'{"error": {"code": "host_unknown", "message": "..."}}'
    with serve("127.0.0.1", lambda request: request.reply(421, body)) as server:
        url = f"http://localhost:{server.port}"
        with pytest.raises(NotConnected, match="LAYOUTLOOP_HOSTS=localhost, or with BASIC_AUTH_USER"):
            check_shim(ShimAddress(url))
