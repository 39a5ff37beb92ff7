"""What Prometheus gets from a real agent, by its real counters, over its Unix socket."""

import subprocess
import time

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from lab.agent import Scraper
from lab.install import cache_folder
from lab.services import Balanced
from tests.netns.conftest import set_up

PROMTOOL = cache_folder() / "promtool/promtool"


def scraped(running: Balanced, accept: str = "application/openmetrics-text; version=1.0.0") -> str:
    """The text, once the agent that runs gives it."""
    end = time.monotonic() + 20
    while True:
        try:
            connection = Scraper(running.agent.metrics_socket, 20)
            connection.request("GET", "/metrics", headers={"Accept": accept})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read().decode()
        except OSError:
            assert time.monotonic() < end, running.agent.log()
            time.sleep(0.05)


def values(text: str) -> dict[str, float]:
    """By sample name and values of its labels."""
    every = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {" ".join((sample.name, *sample.labels.values())): sample.value for sample in every}


def test_counters_of_real_packets_are_those_of_stream_stats_and_outlive_a_killed_agent() -> None:
    with set_up(metrics=True) as web:
        web.add_web()
        assert web.lab.traffic.counted(web.vips(), 40, "scraped")["errors"] == {}
        time.sleep(1.1)  # connections close, and a scrape may be a second old
        [stats] = web.client.stats(interval=0.1, samples=1)
        text = scraped(web)
        found = values(text)
        for one in stats.services:
            name = one.service.removeprefix("services/")
            assert found[f"l4lb_service_packets_total {name} in"] == one.traffic.packets_in > 0
            assert found[f"l4lb_service_bytes_total {name} out"] == one.traffic.bytes_out > 0
            assert found[f"l4lb_service_flows_total {name}"] == one.traffic.flows > 0
        for one in stats.backends:
            service, backend = one.backend.removeprefix("services/").split("/backends/")
            assert found[f"l4lb_backend_packets_total {service} {backend} in"] == one.traffic.packets_in
        assert found["l4lb_datapath_packets_total FLOW_CREATED TX"] >= 40
        assert found["l4lb_agent_ready"] == 1
        assert found["l4lb_apply_duration_seconds_count"] == 6
        assert found["l4lb_interface_attached eth0 native"] == 1
        agent = web.client.agent()
        build = f"l4lb_build_info {agent.version} {agent.interfaces[0].program_tag} {agent.layout_version} {agent.kernel}"
        assert found[build] == 1
        plain = scraped(web, "text/plain")
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=plain, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        web.agent.kill()
        web.agent.start()
        web.agent.wait_ready(web.client)
        after = values(scraped(web))
        kernels = [name for name in found if name.startswith(("l4lb_service_packets", "l4lb_backend_bytes", "l4lb_datapath_packets"))]
        assert {name: after[name] for name in kernels if after[name] < found[name]} == {}
        assert after["l4lb_apply_duration_seconds_count"] == 0
        assert after["l4lb_agent_start_time_seconds"] > found["l4lb_agent_start_time_seconds"]
