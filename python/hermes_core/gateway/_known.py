"""The gateways that the adapter was written against, function by function.

A line holds the module, the function, its parameters and the fingerprint of its source text (see
`_fingerprint.digest`). Listed is what the core replaces and what it leans on: if the poller of the
TUI changes, say, then a post-turn drain that leaves everything to it would be wrong.
"""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """One function of the gateway."""

    module: str
    name: str
    parameters: str
    digest: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


REGISTRY = "tools.async_delegation"
PROCESSES = "tools.process_registry"
ADAPTERS = "gateway.platforms.base"
SESSIONS = "gateway.session"
MESSAGING = "gateway.run"
TUI = "tui_gateway.server"
CLI = "cli"
PLUGINS = "hermes_cli.plugins"
DELEGATE = "tools.delegate_tool"
CONSTANTS = "hermes_constants"
STATE = "hermes_state"
REDACTION = "agent.redact"
PROFILES = "hermes_cli.profiles"

KNOWN: dict[str, tuple[Part, ...]] = {
    "0.17.0": (
        Part(
            REGISTRY,
            "dispatch_async_delegation",
            "*, goal, context, toolsets, role, model, session_key, runner, interrupt_fn, "
            "max_async_children",
            "163c87ff72ef2b9a30c0ab200a5039c56a2b83c1dee849d9660ad6b711712e85",
        ),
        Part(
            REGISTRY,
            "active_count",
            "",
            "8b1bfa22c3c1df1e0add467e3ffa43c07ac3fd678c57d2bf54362e2dbeb06346",
        ),
        Part(
            REGISTRY,
            "list_async_delegations",
            "",
            "92cf715634e5e81a52540e0de0dc5b97d451ad329c045d2628d7b987ae845fb1",
        ),
        Part(
            REGISTRY,
            "interrupt_all",
            "reason",
            "82be0ce7d65cfeb6e67ad929039dbd1d55174de4356e649fb0697f34f16174ea",
        ),
        Part(
            REGISTRY,
            "_reset_for_tests",
            "",
            "e47fe2aca137d4d55fd779abe5f8a930ff37105681756cc78a38280293df4161",
        ),
        Part(
            REGISTRY,
            "_finalize",
            "delegation_id, result, status",
            "7744da389f258701d781c7603efa87e45fd761e54d543fc8d9495befc537b1dd",
        ),
        Part(
            REGISTRY,
            "_push_completion_event",
            "record, result, status",
            "ed78ec329f70eaa46c603b19c36de26bbb6e2eff38a8a864be275f5199dc7c8c",
        ),
        Part(
            REGISTRY,
            "_prune_completed_locked",
            "",
            "69b0ee934195788aa93b53b3ef33c673818033f91cd437bc771533d270c5b5c1",
        ),
        Part(
            PROCESSES,
            "format_process_notification",
            "evt",
            "fdcf9cd5d25e360acdcf5bd4a4d15d88cf50f24480b00d5fd0c358d536e82ec7",
        ),
        Part(
            PROCESSES,
            "ProcessRegistry.drain_notifications",
            "self",
            "786f6f48408bbbcf4b4f4c5866e9c1821142260bdce2775a54b38440945cef8f",
        ),
        Part(
            PROCESSES,
            "ProcessRegistry.is_completion_consumed",
            "self, session_id",
            "fc563970a1e91a931fbffcb4e473ea3acffa22d4147c7dfdf18bc7dae080f071",
        ),
        Part(
            MESSAGING,
            "_drain_gateway_watch_events",
            "completion_queue",
            "7477143156a5e740a2e209edeba39d3bb6193f92b22419954a3187c3d49156d3",
        ),
        Part(
            MESSAGING,
            "_format_gateway_process_notification",
            "evt",
            "057e1d0b75b7fac3416a321625442c185013d1cfbf76e2d85bb7a966fcbac21b",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._async_delegation_watcher",
            "self, interval",
            "bc2a48156ad940f070fbac604a4cc4514f2a9313c83d8db5efd099ca56eedc8b",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._inject_watch_notification",
            "self, synth_text, evt",
            "977f6fef9df2b871fc1b3dbaa8d5501026acb5edf3d48f3f316025688b832697",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._build_process_event_source",
            "self, evt",
            "f88893f783b538cb973a71137434c7c5b1962fc7907ace589db83d1ff1f17028",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._handle_message",
            "self, event",
            "464b22cb79455459c9b333490335596bc46f2383f82f697b86d43b11aa477d6c",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._handle_message_with_agent",
            "self, event, source, _quick_key, run_generation",
            "a467b5ee78a69ead6c35312dc68b2e612001b40dfe83bf79e2abbaaeb24ea19a",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._release_running_agent_state",
            "self, session_key, *, run_generation",
            "db82431ae820ff963c0dfb2c5ff289218413bb90d733fd4115786e833faeda91",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._update_platform_runtime_status",
            "self, platform, *, platform_state, error_code, error_message",
            "7cd827a7859e515f12e14e867a09533c3c82898c8fe96e8926bcae88459e81b8",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._platform_reconnect_watcher",
            "self",
            "cfc9d13116d95c576b7a15f1850fe8d9fa9326da9500b6e4344918bb63589afc",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._session_key_for_source",
            "self, source",
            "57bae566ca2128d59ec5ee1ea950911e8b6edd46e8128878f7d93a74d82509cb",
        ),
        Part(
            MESSAGING,
            "GatewayRunner._active_session_limit_message",
            "self, session_key",
            "0a93dd3c232244c5811b40866195edb2217d037f8a41eed499e6bcd9eb28b8ae",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._release_session_guard",
            "self, session_key, *, guard",
            "96bb95550888864db28c74945d3e068a9c9f360a7bb5c862ced9a556502853ba",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._heal_stale_session_lock",
            "self, session_key",
            "f551107e7241e08496fc0d410275d63aa19d57729fe76520328e822da9fdfdc1",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._start_session_processing",
            "self, event, session_key, *, interrupt_event",
            "84bf00ca52f550a1aa1c6fd5f41c66a418f88a1b34c78a7d180b719548d60af9",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._session_task_is_stale",
            "self, session_key",
            "57222a36728212132bd7258b20ecd0ee6744ca821ca3f4d271a55c25bf8c8801",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter.handle_message",
            "self, event",
            "550c2af81d76f9d619c912f16090edc2b5461cc89acb667e7e87b79f349d40ef",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._process_message_background",
            "self, event, session_key",
            "0ce1765a6ccf575a6e2e85cf699eaac9f3eab23673b95ce8d328e36680f20884",
        ),
        Part(
            ADAPTERS,
            "BasePlatformAdapter._apply_topic_recovery",
            "self, event",
            "4ea7f5f65c86be22e628790a5d8f06bd8e1338316fee19812ea94d1eae02026d",
        ),
        Part(
            SESSIONS,
            "build_session_key",
            "source, group_sessions_per_user, thread_sessions_per_user, profile",
            "c10b435c7f7983b26fd8b2843c00a9db04408e52a4a5151bda46e188f3b9840b",
        ),
        Part(
            SESSIONS,
            "SessionStore.reset_session",
            "self, session_key, display_name",
            "3a67bb3f3481b8ed2fd0744b31f66253a20c2f7a73d8a24d8e4f142706e2a730",
        ),
        Part(
            SESSIONS,
            "SessionStore.get_or_create_session",
            "self, source, force_new",
            "1c0bd204de83fe8a012308505a632557ba08bacf4efe1966e33a7f82c04d7b84",
        ),
        Part(
            SESSIONS,
            "SessionStore._should_reset",
            "self, entry, source",
            "81642e6d8a9c3a9fd0752dde522413bc34a7ab1903930e87a24a4d7a7d4099f8",
        ),
        Part(
            TUI,
            "_notification_poller_loop",
            "stop_event, sid, session",
            "5d03a04c515344a40fd3ffce812ac33eca1a5b6fab22d869ce16803085cf5d9f",
        ),
        Part(
            TUI,
            "_start_notification_poller",
            "sid, session",
            "579e4f90e6114ae72a9dd1447a5a04d2cc5d8cc4edb7984f6fa6332f927c55f1",
        ),
        Part(
            TUI,
            "_run_prompt_submit",
            "rid, sid, session, text",
            "780d29535d663a7410b96081548be17bcc472cc6358b950ffdc236aeda907094",
        ),
        Part(
            TUI,
            "_emit",
            "event, sid, payload",
            "d823e8a6e97f1b8780132e4f0f78aee0b3855748585d411ef8676cc1c938e59f",
        ),
        Part(
            CLI,
            "HermesCLI.run.process_loop",
            "",
            "af8db6e070fbc863f6bbdd7741f331a2734618549adcba99b61b54b7d9b6d5f5",
        ),
        Part(
            CLI,
            "HermesCLI._check_config_mcp_changes",
            "self",
            "63b674e0c77349e921eded160101f879c68e949031095a91512d2101cb617dbc",
        ),
        Part(
            CLI,
            "HermesCLI._maybe_continue_goal_after_turn",
            "self",
            "78fa870ecbab4507c5d7ebd6dbaa27d57f269ddc995e5d7072f9bf8ed61b56d4",
        ),
        Part(
            PLUGINS,
            "PluginManager.__init__",
            "self",
            "4af9986334b0e555c9bd483979e68dbba007d5e4db8a344ee00d199d8f66d818",
        ),
        Part(
            PLUGINS,
            "get_plugin_manager",
            "",
            "751cb1d2e0b7fdb2c3d2ba01bf6c050721ca1cd116a181d3ad77f682d78a1901",
        ),
        Part(
            MESSAGING,
            "GatewayRunner.__init__",
            "self, config",
            "ae8602e50097566307fcc47f98120550825eb3a0400315f293038bd359fe4147",
        ),
        Part(
            TUI,
            "_init_session",
            "sid, key, agent, history, cols, cwd, session_db",
            "2d0f74ed19e925f61a650763973ab5434143570f4ce32f5d7d1935696043da45",
        ),
        Part(
            TUI,
            "_start_agent_build",
            "sid, session",
            "b2f18052371dbcaabd80b806ee3c7dea0fa76130fad7760a3b949d765cbb3b61",
        ),
        Part(
            TUI,
            "_finalize_session",
            "session, end_reason",
            "0208c48dd7b37ee7edd85c5bb9c3ee69fe03acd462f64707a90e14ab2b1dc02f",
        ),
        Part(
            TUI,
            "_close_session_by_id",
            "sid, *, end_reason",
            "84ab15ed364e271c0d66ad19ec603969452d08b67cbc71a7425833d5e23ccbe8",
        ),
        Part(
            TUI,
            "_reset_session_agent",
            "sid, session",
            "14899d76ba20474a3f95725d725381f2a1a102593883e41a7958e228448e692a",
        ),
        Part(
            TUI,
            "_sync_session_key_after_compress",
            "sid, session, *, clear_pending_title, restart_slash_worker",
            "27ce8adde363871a7ad1f17d7e934a84a484c071f8686e747efbb541c9a408e3",
        ),
        Part(
            DELEGATE,
            "delegate_task",
            "goal, context, toolsets, tasks, max_iterations, acp_command, acp_args, role, "
            "background, parent_agent",
            "1780de19d0289b33dab5aa1887c5dcf5dec6a0a82f9e51b5bde256994b7a00ff",
        ),
        Part(
            CONSTANTS,
            "get_hermes_home",
            "",
            "09e9d2f4c4817ae8e0b3bcf9f0a0d7f29a151d57980fafc0c2999705ea6cf7f3",
        ),
        Part(
            STATE,
            "SessionDB.get_session",
            "self, session_id",
            "9b4ef58e2a906019a13ce480392e22a370ec7b1baea59aa6a2bf20ea93e78352",
        ),
        Part(
            TUI,
            "_session_db",
            "session",
            "84eca69ff2cb44eb86a19c19462c6324c155cae5baaddf9e93c3f445441901d9",
        ),
        Part(
            PROFILES,
            "profiles_to_serve",
            "multiplex",
            "fba6d4b900f44079891e7129608a166263385cc52f0326345abb5b34ec8dde06",
        ),
        Part(
            REDACTION,
            "redact_sensitive_text",
            "text, *, force, code_file",
            "4825496f758397bf8e132f51cac9a3b3e97b4fbfac0bf60ae89219c0b3b31b4f",
        ),
    ),
}
