"""Every case of OTP's ``supervisor_SUITE`` (lib/stdlib, OTP 28) is ported, or left out for a reason.

Where OTP's reason is a bare ``shutdown`` because the intensity was reached, ours is ``RestartIntensity``.
OTP's ``simple_one_for_one`` is an actor's own supervisor here.
"""

from __future__ import annotations

from types import ModuleType

from . import (
    test_otp_supervisor_children,
    test_otp_supervisor_significant,
    test_otp_supervisor_strategies,
    test_otp_supervisor_suite,
)

MODULES = [
    test_otp_supervisor_suite,
    test_otp_supervisor_strategies,
    test_otp_supervisor_children,
    test_otp_supervisor_significant,
]

CASES = """
    sup_start_normal sup_start_ignore_init sup_start_ignore_child sup_start_ignore_temporary_child
    sup_start_ignore_temporary_child_start_child sup_start_ignore_temporary_child_start_child_simple
    sup_start_ignore_permanent_child_start_child_simple sup_start_error_return sup_start_fail
    sup_start_child_returns_error sup_start_restart_child_returns_error
    sup_start_child_returns_error_simple sup_start_map sup_start_map_simple
    sup_start_map_faulty_specs sup_stop_infinity sup_stop_timeout sup_stop_timeout_dynamic
    sup_stop_brutal_kill sup_stop_brutal_kill_dynamic sup_stop_race
    sup_stop_non_shutdown_exit_dynamic child_adm child_adm_simple extra_return child_specs
    child_specs_map sup_flags multiple_restarts one_for_one one_for_one_escalation one_for_all
    one_for_all_escalation one_for_all_other_child_fails_restart simple_one_for_one
    simple_one_for_one_shutdown simple_one_for_one_extra simple_one_for_one_escalation
    simple_one_for_one_corruption simple_one_for_one_restart_ignore rest_for_one
    rest_for_one_escalation rest_for_one_other_child_fails_restart external_start_no_progress_log
    permanent_normal transient_normal temporary_normal permanent_shutdown transient_shutdown
    temporary_shutdown faulty_application_shutdown permanent_abnormal transient_abnormal
    temporary_abnormal child_unlink tree nonsignificant_temporary nonsignificant_transient
    significant_temporary significant_transient significant_simple significant_bystander
    significant_escalation significant_upgrade_never_any significant_upgrade_any_never
    significant_upgrade_never_all significant_upgrade_all_never significant_upgrade_any_all
    significant_upgrade_all_any significant_upgrade_child count_children count_children_supervisor
    count_restarting_children get_callback_module
    do_not_save_start_parameters_for_temporary_children
    do_not_save_child_specs_for_temporary_children simple_one_for_one_scale_many_temporary_children
    temporary_bystander simple_global_supervisor hanging_restart_loop
    hanging_restart_loop_rest_for_one hanging_restart_loop_simple code_change code_change_map
    code_change_simple code_change_simple_map order_of_children scale_start_stop_many_children
    format_log_1 format_log_2 already_started_outside_supervisor which_children
    which_children_simple_one_for_one
""".split()  # noqa: SIM905 - in the order of the suite, as it is easiest to compare

# Cases that share one test, which has a parameter for what differs between them.
SHARED = {
    "sup_start_ignore_temporary_child_start_child_simple": "sup_start_ignore_child_start_child_simple",
    "sup_start_ignore_permanent_child_start_child_simple": "sup_start_ignore_child_start_child_simple",
    "one_for_one": "strategy",
    "one_for_all": "strategy",
    "rest_for_one": "strategy",
    "one_for_one_escalation": "escalation",
    "one_for_all_escalation": "escalation",
    "rest_for_one_escalation": "escalation",
    "one_for_all_other_child_fails_restart": "other_child_fails_restart",
    "rest_for_one_other_child_fails_restart": "other_child_fails_restart",
    **{
        f"{restart}_{end}": "termination"
        for restart in ("permanent", "transient", "temporary")
        for end in ("normal", "shutdown", "abnormal")
    },
}

DATA = "a supervisor is data: it has no callback module and no init function"
ARGUMENTS = "a child's factory takes no arguments and returns nothing beside the actor"
UPGRADE = "code is not exchanged under a running supervisor"
LOGS = "structlog formats our logs; there are no progress reports"

LEFT_OUT = {
    "sup_start_ignore_init": DATA,
    "sup_start_error_return": DATA,
    "get_callback_module": DATA,
    "extra_return": ARGUMENTS,
    "simple_one_for_one_extra": ARGUMENTS,
    "external_start_no_progress_log": LOGS,
    "format_log_1": LOGS,
    "format_log_2": LOGS,
    "faulty_application_shutdown": "there are no applications",
    **dict.fromkeys(
        [case for case in CASES if case.startswith(("code_change", "significant_upgrade"))], UPGRADE
    ),
}


def cases_of(module: ModuleType) -> set[str]:
    return {name for name in vars(module) if name.startswith("test_")}


def test_every_case_is_ported_or_left_out_for_a_reason() -> None:
    assert len(set(CASES)) == len(CASES)
    ported = set().union(*map(cases_of, MODULES))
    missing = [case for case in CASES if f"test_{SHARED.get(case, case)}" not in ported]
    assert missing == [case for case in CASES if case in LEFT_OUT]
    assert LEFT_OUT.keys() | SHARED.keys() <= set(CASES)


def test_each_case_has_one_test() -> None:
    names = [name for module in MODULES for name in cases_of(module)]
    assert len(set(names)) == len(names)
