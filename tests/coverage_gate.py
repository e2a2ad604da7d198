"""The gate: every branch of every pure core is taken by the tests that know no network, process or disk.

Run it:  make coverage
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .test_imports import PURE_CORES

ROOT = Path(__file__).parent.parent

LEFT_OUT: dict[str, str] = {}
"""Pure cores that the gate does not look at, as ``room.module``, and why."""

TESTS = {
    "actors": [
        "test_backoff",
        "test_exits",
        "test_mailbox",
        "test_message",
        "test_monitors",
        "test_network_seam",
        "test_supervision",
        "test_supervision_backoff",
        "test_supervision_requests",
        "test_weight",
    ],
    "transport": [
        "test_codec",
        "test_control",
        "test_frame",
        "test_golden",
        "test_handshake",
        "test_identification",
        "test_link",
        "test_outbox",
        "test_refusal_log",
        "streams/test_any_order",
        "streams/test_lies",
        "streams/test_multiplexer",
    ],
    "cluster": ["test_credentials"],
    "models": ["test_byte_size", "test_eviction", "test_shards"],
    "engines": [
        "test_attention",
        "test_gpu_figures",
        "test_identity",
        "test_order",
        "test_retry",
        "backends/test_external",
        "backends/test_vllm_settings",
        "external/test_address",
        "ownership/test_listeners",
        "replica/test_after_its_turn",
        "replica/test_gpu_log",
        "replica/test_lifecycle",
        "replica/test_lifecycle_idle",
        "replica/test_recent_pressure",
        "replica/test_root_cause",
        "replica/test_taking_room",
        "warm/test_waiting",
    ],
    "http_server": ["test_turns"],
    "loadgen": [
        "client/test_answer",
        "client/test_encoding",
        "figures/test_figures",
        "figures/test_generator_load",
        "figures/test_goals",
        "figures/test_histogram",
        "figures/test_plot",
        "figures/test_timeline",
        "test_page",
        "test_report",
        "traces/test_formats",
        "work/test_arrivals",
        "work/test_lengths",
        "work/test_offered",
        "work/test_popularity",
    ],
    "gateway": [
        "test_access",
        "test_cors",
        "test_errors",
        "test_headers",
        "test_surface",
        "bodies/test_content_coding",
        "bodies/test_dialects",
        "bodies/test_form",
        "bodies/test_form_passing",
        "bodies/test_keep_alive",
        "bodies/test_request_fields",
        "bodies/test_response_id",
        "bodies/test_rewriting",
        "bodies/test_stream_end",
        "bodies/test_stream_error",
        "path/answers/test_relays",
        "path/clients/test_http1",
        "path/clients/test_request_body",
        "path/clients/test_upgrade",
        "path/clients/test_upload",
        "path/engines/test_broke",
        "path/engines/test_pool",
        "path/engines/test_request",
        "path/test_assembly",
        "path/test_deadlines",
        "path/test_events",
        "path/test_failover",
        "path/test_model_name",
        "path/test_reading",
        "path/test_repeated_head",
        "path/test_uploading",
        "routing/test_balancer",
        "routing/test_balancer_routes",
        "routing/test_balancer_waits",
        "routing/test_board",
        "routing/test_circuit",
        "routing/test_give_back",
        "routing/test_fair_queue",
        "routing/test_fairness",
        "routing/test_hold_queue",
        "routing/test_knowledge",
        "routing/test_loss",
        "routing/test_poison",
        "routing/test_measured",
        "routing/test_policies",
        "routing/test_route",
    ],
    "serving": [
        "test_admission",
        "test_answers",
        "test_cluster_api",
        "test_control",
        "test_deaths",
        "test_sticky_ids",
        "deployment/test_changes",
        "differences/test_follower",
        "differences/test_messages",
        "differences/test_publisher",
        "deployment/test_document",
        "deployment/test_wrong_documents",
        "deployment/test_kept_document",
        "deployment/test_mistakes",
        "deployment/test_needs",
        "deployment/test_schedule",
        "deployment/test_spec",
        "test_find_node",
        "journal/test_journal",
        "journal/test_kinds",
        "journal/test_repeats",
        "test_known_links",
        "keys/test_requests",
        "loading/test_requests",
        "pulls/test_plan",
        "pulls/test_ticket",
        "store/test_journal_filter",
        "store/test_records",
        "store/test_writes",
        "decisions/test_eviction",
        "decisions/test_growth",
        "decisions/test_placement",
        "decisions/test_load",
        "decisions/test_pauses",
        "decisions/test_saturation",
        "decisions/test_scaling",
        "decisions/test_schedules",
        "decisions/test_start_cost",
        "decisions/test_swapping",
        "decisions/test_tiers",
        "picture/test_scaling",
        "picture/test_audit",
        "picture/test_demand",
        "picture/test_demotion",
        "picture/test_sleeping_turns",
        "picture/test_eviction",
        "picture/test_gpu_memory",
        "picture/test_turns",
        "picture/test_failures",
        "picture/test_if_idle",
        "picture/test_indices",
        "picture/test_journal",
        "picture/test_measuring",
        "picture/test_picture",
        "picture/test_races",
        "picture/test_recovery",
        "picture/test_rollout",
        "picture/test_learned",
        "picture/test_ledger",
        "picture/test_room",
        "picture/test_tally",
        "picture/test_tiers",
        "views/test_cursors",
        "views/test_deployments",
        "views/test_events",
        "views/test_lists",
        "views/test_missing",
        "views/test_nodes",
        "views/test_parameters",
        "views/test_reasons",
        "views/test_rollouts",
        "worker/test_crashes",
        "worker/test_idle_orders",
        "worker/test_orders",
        "worker/test_pace",
        "worker/test_declined",
        "worker/test_stock",
        "worker/test_tiers",
        "worker/test_withdrawals",
    ],
    "cli": ["test_ages", "test_lookup", "test_summary", "test_rollout"],
    "nodes": ["launcher/test_liveness"],
    "observe": ["test_redaction", "test_terminal_text"],
}
"""The tests that reach them: files, by room. The long-running models are left to the whole test run."""


def main() -> int:
    cores = [
        f"src/sllm_actors/{room}/{core.replace('.', '/')}.py"
        for room, names in PURE_CORES.items()
        for core in names
        if f"{room}.{core}" not in LEFT_OUT
    ]
    tests = [f"tests/{room}/{name}.py" for room, names in TESTS.items() for name in names]
    one_loop = ["-k", "not uvloop and not trio"]
    pytest = [
        "pytest",
        "-q",
        "--no-header",
        "-p",
        "no:randomly",
        "--hypothesis-profile=coverage",
        *one_loop,
        *tests,
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what runs below as well
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        coverage = [sys.executable, "-m", "coverage"]
        ran = subprocess.run([*coverage, "run", data, "-m", *pytest], cwd=ROOT, check=False)
        if ran.returncode != 0:
            return ran.returncode
        report = ["report", data, f"--include={','.join(cores)}", "--fail-under=100"]
        return subprocess.run([*coverage, *report], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
