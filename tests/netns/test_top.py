"""l4lbctl top beside a real agent with traffic, as the picture in the README shows it."""

import html
import re

from lab.demo.picture import picture
from lab.services import Balanced


async def test_the_picture_shows_rates_of_real_traffic(web: Balanced) -> None:
    load = web.lab.traffic.constant(web.vips(), 50, "top")
    drawn = html.unescape(re.sub(r"<[^>]+>", "", await picture(web.agent.target, 4.0))).replace("\xa0", " ")
    assert load.result()["errors"] == {}
    assert "@font-face" not in drawn
    [packets] = re.findall(r"web4 +2 of 2 +(\d+)", drawn)
    assert int(packets) > 20
    assert "eth0 native" in drawn
