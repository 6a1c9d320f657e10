//! What a classic definition may hold, as Tyk 5.14 decodes it. What a gateway does not know it drops
//! without a word.

use super::{
    Shape::{
        Address, Any, Count, Duration, Flag, List, Map, Number, Object, Path, Pattern, Text, Whole,
    },
    Type, Units, field,
};

pub(super) static API_DEFINITION: Type = Type::new(&[
    field("CORS", Object(&CORS_CONFIG)).about("Cross-origin requests of browsers."),
    field("active", Flag).about("A gateway serves an API all the same when this is false."),
    field("allowed_ips", List(&Address)).about("Addresses or networks that may call the API; enable_ip_whitelisting must be on."),
    field("analytics_plugin", Object(&ANALYTICS_PLUGIN_CONFIG)),
    field("api_id", Text).about("The API's id. It never changes: with another id it is another API."),
    field("application_protocol", Text),
    field("auth", Object(&AUTH_CONFIG)).about("Where a key is looked for; auth_configs has taken its place."),
    field("auth_configs", Map(&Object(&AUTH_CONFIG))).about("Where credentials are looked for, by way of authentication: authToken, jwt, basic, hmac, oauth, oidc, coprocess."),
    field("auth_provider", Object(&AUTH_PROVIDER_META)),
    field("base_identity_provided_by", Text),
    field("basic_auth", Object(&API_DEFINITION_BASIC_AUTH)),
    field("blacklisted_ips", List(&Address)).about("Addresses or networks that may not; enable_ip_blacklisting must be on."),
    field("cache_options", Object(&CACHE_OPTIONS)).about("What is answered from a cache."),
    field("certificate_pinning_disabled", Flag),
    field("certificates", List(&Text)).about("Ids of certificates that the gateway shows for the domain, or certificate:NAME."),
    field("client_certificates", List(&Text)).about("Ids of certificates that clients may show, or certificate:NAME."),
    field("config_data", Map(&Any)).about("Data for plugins, in any form."),
    field("config_data_disabled", Flag),
    field("custom_middleware", Object(&MIDDLEWARE_SECTION)).about("Plugins, by the moment at which they run."),
    field("custom_middleware_bundle", Text).about("The file of a bundle of plugins."),
    field("custom_middleware_bundle_disabled", Flag),
    field("custom_plugin_auth_enabled", Flag).about("Whether a plugin authenticates requests."),
    field("definition", Object(&VERSION_DEFINITION)).about("How requests choose a version, and which APIs the versions are."),
    field("detailed_tracing", Flag).about("Whether OpenTelemetry sees every middleware."),
    field("disable_quota", Flag).about("Whether no quota is enforced."),
    field("disable_rate_limit", Flag).about("Whether no rate limit is enforced."),
    field("do_not_track", Flag).about("Whether the API writes no analytics."),
    field("domain", Text).about("The host name that requests must have."),
    field("domain_disabled", Flag).about("Whether the domain is not looked at."),
    field("dont_set_quota_on_create", Flag),
    field("enable_batch_request_support", Flag),
    field("enable_context_vars", Flag).about("Whether templates may use $tyk_context values."),
    field("enable_coprocess_auth", Flag).about("The old name of custom_plugin_auth_enabled."),
    field("enable_detailed_recording", Flag).about("Whether analytics hold whole requests and responses."),
    field("enable_ip_blacklisting", Flag),
    field("enable_ip_whitelisting", Flag),
    field("enable_jwt", Flag).about("Whether requests need a JSON Web Token."),
    field("enable_proxy_protocol", Flag),
    field("enable_signature_checking", Flag).about("Whether requests must be signed with HMAC."),
    field("error_overrides", Map(&List(&Object(&ERROR_OVERRIDE)))),
    field("error_overrides_disabled", Flag),
    field("event_handlers", Object(&EVENT_HANDLER_META_CONFIG)).about("What happens at events, by their name."),
    field("expiration", Text),
    field("expire_analytics_after", Whole),
    field("external_oauth", Object(&EXTERNAL_O_AUTH)),
    field("global_rate_limit", Object(&GLOBAL_RATE_LIMIT)).about("A limit for all callers of the API together."),
    field("graphql", Object(&GRAPH_QL_CONFIG)).about("The GraphQL side of the API."),
    field("hmac_allowed_algorithms", List(&Text)),
    field("hmac_allowed_clock_skew", Number),
    field("id", Text).about("A database id, 24 hex digits; the open source gateway does not use it."),
    field("idp_client_id_mapping_disabled", Flag),
    field("internal", Flag).about("Whether only other APIs can call this one."),
    field("ip_access_control_disabled", Flag),
    field("is_oas", Flag),
    field("json_rpc_version", Text),
    field("jwt_client_base_field", Text),
    field("jwt_default_policies", List(&Text)).about("Ids of policies for tokens that name none."),
    field("jwt_expires_at_validation_skew", Count),
    field("jwt_identity_base_field", Text).about("The claim that tells whose token it is."),
    field("jwt_issued_at_validation_skew", Count),
    field("jwt_jwks_uris", List(&Object(&JWK))),
    field("jwt_not_before_validation_skew", Count),
    field("jwt_policy_field_name", Text).about("The claim that names the policy."),
    field("jwt_scope_claim_name", Text),
    field("jwt_scope_to_policy_mapping", Map(&Text)),
    field("jwt_signing_method", Text).about("hmac, rsa, ecdsa or eddsa."),
    field("jwt_skip_kid", Flag),
    field("jwt_source", Text).about("The key that checks signatures in base64, or the address of a JWKS."),
    field("listen_port", Whole).about("The port of an API that has one of its own; tcp and tls need it."),
    field("name", Text).about("What people call the API."),
    field("notifications", Object(&NOTIFICATIONS_MANAGER)),
    field("oauth_meta", Object(&API_DEFINITION_OAUTH2_META)),
    field("openid_options", Object(&OPEN_ID_OPTIONS)),
    field("org_id", Text).about("The organisation that the API belongs to; left out, it is the target's."),
    field("pinned_public_keys", Map(&Text)).about("Public keys that an upstream may have, by its domain."),
    field("protocol", Text).about("http, https, h2c, tcp or tls; empty for http."),
    field("proxy", Object(&PROXY_CONFIG)).about("Where the API listens and where its requests go."),
    field("request_signing", Object(&REQUEST_SIGNING_META)),
    field("response_processors", List(&Object(&RESPONSE_PROCESSOR))).about("What changes responses on their way back."),
    field("scopes", Object(&SCOPES)),
    field("security_requirement_scopes", List(&Map(&List(&Text)))),
    field("security_requirements", List(&List(&Text))),
    field("session_lifetime", Whole).about("Seconds after which a key's data leave the gateway's memory."),
    field("session_lifetime_respects_key_expiration", Flag),
    field("session_provider", Object(&SESSION_PROVIDER_META)),
    field("slug", Text).about("A short name; the open source gateway does not use it."),
    field("strip_auth_data", Flag).about("Whether credentials are removed before the upstream gets a request."),
    field("tag_headers", List(&Text)).about("Request headers that are written into the analytics."),
    field("tags", List(&Text)).about("Labels that gateways choose APIs by; a single gateway ignores them."),
    field("tags_disabled", Flag),
    field("upstream_auth", Object(&UPSTREAM_AUTH)).about("How the gateway authenticates itself to the upstream."),
    field("upstream_certificates", Map(&Text)).about("The certificate that the gateway shows to an upstream, by its domain."),
    field("upstream_certificates_disabled", Flag),
    field("uptime_tests", Object(&UPTIME_TESTS)).about("Requests that find out whether upstreams are up."),
    field("use_basic_auth", Flag).about("Whether requests need a user name and a password."),
    field("use_go_plugin_auth", Flag).about("The old name of custom_plugin_auth_enabled."),
    field("use_keyless", Flag).about("Whether everybody may call the API without a key."),
    field("use_mutual_tls_auth", Flag).about("Whether clients must show one of client_certificates."),
    field("use_oauth2", Flag).about("Whether the gateway is an OAuth 2.0 server for the API."),
    field("use_openid", Flag).about("Whether requests need an OpenID Connect token."),
    field("use_standard_auth", Flag).about("Whether requests need an auth token."),
    field("version_data", Object(&VERSION_DATA)).about("The versions of the API; one that is not versioned has one."),
]);

pub(super) static API_DEFINITION_BASIC_AUTH: Type = Type::new(&[
    field("body_password_regexp", Pattern),
    field("body_user_regexp", Pattern),
    field("cache_ttl", Whole),
    field("disable_caching", Flag),
    field("extract_from_body", Flag),
]);

pub(super) static API_DEFINITION_OAUTH2_META: Type = Type::new(&[
    field("allowed_access_types", List(&Text)),
    field("allowed_authorize_types", List(&Text)),
    field("auth_login_redirect", Text),
]);

pub(super) static ANALYTICS_PLUGIN_CONFIG: Type = Type::new(&[
    field("enable", Flag),
    field("func_name", Text),
    field("plugin_path", Text),
]);

pub(super) static AUTH_CONFIG: Type = Type::new(&[
    field("auth_header_name", Text)
        .about("The header that has the credentials; Authorization when empty."),
    field("cookie_name", Text).about("The cookie's name."),
    field("disable_header", Flag).about("Whether the header is not looked at."),
    field("name", Text),
    field("param_name", Text).about("The query parameter's name."),
    field("signature", Object(&SIGNATURE_CONFIG)),
    field("use_certificate", Flag).about("Whether a client certificate stands in for a token."),
    field("use_cookie", Flag).about("Whether a cookie is looked at too."),
    field("use_param", Flag).about("Whether a query parameter is looked at too."),
    field("validate_signature", Flag),
]);

pub(super) static AUTH_PROVIDER_META: Type = Type::new(&[
    field("meta", Map(&Any)),
    field("name", Text),
    field("storage_engine", Text),
]);

pub(super) static AUTH_SOURCE: Type = Type::new(&[field("enabled", Flag), field("name", Text)]);

pub(super) static CORS_CONFIG: Type = Type::new(&[
    field("allow_credentials", Flag).about("Whether cookies are allowed."),
    field("allowed_headers", List(&Text)).about("Headers that a request may have."),
    field("allowed_methods", List(&Text)).about("HTTP methods."),
    field("allowed_origins", List(&Text))
        .about("Origins, such as https://shop.example; * for all."),
    field("debug", Flag),
    field("enable", Flag).about("Whether the gateway answers cross-origin requests."),
    field("exposed_headers", List(&Text)).about("Headers that a script may read."),
    field("max_age", Whole).about("Seconds for which a browser may keep the answer."),
    field("options_passthrough", Flag),
]);

pub(super) static CACHE_META: Type = Type::new(&[
    field("cache_key_regex", Pattern),
    field("cache_response_codes", List(&Whole)),
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("timeout", Whole),
]);

pub(super) static CACHE_OPTIONS: Type = Type::new(&[
    field("cache_all_safe_requests", Flag)
        .about("Whether all GET, HEAD and OPTIONS requests are cached."),
    field("cache_by_headers", List(&Text)),
    field("cache_control_ttl_header", Text),
    field("cache_response_codes", List(&Whole)).about("Status codes that are cached."),
    field("cache_timeout", Whole).about("Seconds for which a response is kept."),
    field("enable_cache", Flag).about("Whether there is a cache."),
    field("enable_upstream_cache_control", Flag),
]);

pub(super) static CHECK_COMMAND: Type = Type::new(&[field("message", Text), field("name", Text)]);

pub(super) static CIRCUIT_BREAKER_META: Type = Type::new(&[
    field("disable_half_open_state", Flag),
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("return_to_service_after", Whole),
    field("samples", Whole),
    field("threshold_percent", Number),
]);

pub(super) static CLIENT_CREDENTIALS: Type = Type::new(&[
    field("client_id", Text),
    field("client_secret", Text),
    field("extra_metadata", List(&Text)),
    field("header", Object(&AUTH_SOURCE)),
    field("scopes", List(&Text)),
    field("token_url", Text),
]);

pub(super) static END_POINT_META: Type = Type::new(&[
    field("disabled", Flag),
    field("ignore_case", Flag),
    field("method", Text),
    field("method_actions", Map(&Object(&ENDPOINT_METHOD_META))),
    field("path", Path),
]);

pub(super) static ENDPOINT_METHOD_META: Type = Type::new(&[
    field("action", Text),
    field("code", Whole),
    field("data", Text),
    field("headers", Map(&Text)),
]);

pub(super) static ERROR_MATCHER: Type = Type::new(&[
    field("body_field", Text),
    field("body_value", Text),
    field("flag", Text),
    field("message_pattern", Pattern),
]);

pub(super) static ERROR_OVERRIDE: Type = Type::new(&[
    field("match", Object(&ERROR_MATCHER)),
    field("response", Object(&ERROR_RESPONSE)),
]);

pub(super) static ERROR_RESPONSE: Type = Type::new(&[
    field("body", Text),
    field("headers", Map(&Text)),
    field("message", Text),
    field("status_code", Whole),
    field("template", Text),
]);

pub(super) static EVENT_HANDLER_META_CONFIG: Type = Type::new(&[field(
    "events",
    Map(&List(&Object(&EVENT_HANDLER_TRIGGER_CONFIG))),
)]);

pub(super) static EVENT_HANDLER_TRIGGER_CONFIG: Type = Type::new(&[
    field("handler_meta", Map(&Any)),
    field("handler_name", Text),
]);

pub(super) static EXTENDED_PATHS_SET: Type = Type::new(&[
    field("advance_cache_config", List(&Object(&CACHE_META))),
    field("black_list", List(&Object(&END_POINT_META))),
    field("cache", List(&Text)),
    field("circuit_breakers", List(&Object(&CIRCUIT_BREAKER_META))),
    field(
        "do_not_track_endpoints",
        List(&Object(&TRACK_ENDPOINT_META)),
    ),
    field("go_plugin", List(&Object(&GO_PLUGIN_META))),
    field("hard_timeouts", List(&Object(&HARD_TIMEOUT_META))),
    field("ignored", List(&Object(&END_POINT_META))),
    field("internal", List(&Object(&INTERNAL_META))),
    field("method_transforms", List(&Object(&METHOD_TRANSFORM_META))),
    field("mock_response", List(&Object(&MOCK_RESPONSE_META))),
    field("persist_graphql", List(&Object(&PERSIST_GRAPH_QL_META))),
    field("rate_limit", List(&Object(&RATE_LIMIT_META))),
    field("size_limits", List(&Object(&REQUEST_SIZE_META))),
    field("track_endpoints", List(&Object(&TRACK_ENDPOINT_META))),
    field("transform", List(&Object(&TEMPLATE_META))),
    field("transform_headers", List(&Object(&HEADER_INJECTION_META))),
    field("transform_jq", List(&Object(&TRANSFORM_JQ_META))),
    field("transform_jq_response", List(&Object(&TRANSFORM_JQ_META))),
    field("transform_response", List(&Object(&TEMPLATE_META))),
    field(
        "transform_response_headers",
        List(&Object(&HEADER_INJECTION_META)),
    ),
    field("url_rewrites", List(&Object(&URL_REWRITE_META))),
    field("validate_json", List(&Object(&VALIDATE_PATH_META))),
    field("validate_request", List(&Object(&VALIDATE_REQUEST_META))),
    field("virtual", List(&Object(&VIRTUAL_META))),
    field("white_list", List(&Object(&END_POINT_META))),
]);

pub(super) static EXTERNAL_O_AUTH: Type = Type::new(&[
    field("enabled", Flag),
    field("providers", List(&Object(&PROVIDER))),
]);

pub(super) static GLOBAL_RATE_LIMIT: Type = Type::new(&[
    field("disabled", Flag).about("Whether the limit is off."),
    field("per", Number).about("The period in seconds."),
    field("rate", Number).about("Requests in one period."),
]);

pub(super) static GO_PLUGIN_META: Type = Type::new(&[
    field("disabled", Flag),
    field("func_name", Text),
    field("method", Text),
    field("path", Path),
    field("plugin_path", Text),
]);

pub(super) static GRAPH_QL_CONFIG: Type = Type::new(&[
    field("enabled", Flag),
    field("engine", Object(&GRAPH_QL_ENGINE_CONFIG)),
    field("execution_mode", Text),
    field("introspection", Object(&GRAPH_QL_INTROSPECTION_CONFIG)),
    field("last_schema_update", Text),
    field("playground", Object(&GRAPH_QL_PLAYGROUND)),
    field("proxy", Object(&GRAPH_QL_PROXY_CONFIG)),
    field("schema", Text),
    field("subgraph", Object(&GRAPH_QL_SUBGRAPH_CONFIG)),
    field("supergraph", Object(&GRAPH_QL_SUPERGRAPH_CONFIG)),
    field("type_field_configurations", List(&Any)),
    field("version", Text),
]);

pub(super) static GRAPH_QL_ENGINE_CONFIG: Type = Type::new(&[
    field("data_sources", List(&Object(&GRAPH_QL_ENGINE_DATA_SOURCE))),
    field("field_configs", List(&Object(&GRAPH_QL_FIELD_CONFIG))),
    field("global_headers", List(&Object(&UDG_GLOBAL_HEADER))),
]);

pub(super) static GRAPH_QL_ENGINE_DATA_SOURCE: Type = Type::new(&[
    field("config", Any),
    field("internal", Flag),
    field("kind", Text),
    field("name", Text),
    field("root_fields", List(&Object(&GRAPH_QL_TYPE_FIELDS))),
]);

pub(super) static GRAPH_QL_FIELD_CONFIG: Type = Type::new(&[
    field("disable_default_mapping", Flag),
    field("field_name", Text),
    field("path", List(&Text)),
    field("type_name", Text),
]);

pub(super) static GRAPH_QL_INTROSPECTION_CONFIG: Type = Type::new(&[field("disabled", Flag)]);

pub(super) static GRAPH_QL_PLAYGROUND: Type =
    Type::new(&[field("enabled", Flag), field("path", Text)]);

pub(super) static GRAPH_QL_PROXY_CONFIG: Type = Type::new(&[
    field("auth_headers", Map(&Text)),
    field("features", Object(&GRAPH_QL_PROXY_FEATURES_CONFIG)),
    field("request_headers", Map(&Text)),
    field(
        "request_headers_rewrite",
        Map(&Object(&REQUEST_HEADERS_REWRITE_CONFIG)),
    ),
    field("sse_use_post", Flag),
    field("subscription_type", Text),
    field(
        "use_response_extensions",
        Object(&GRAPH_QL_RESPONSE_EXTENSIONS),
    ),
]);

pub(super) static GRAPH_QL_PROXY_FEATURES_CONFIG: Type =
    Type::new(&[field("use_immutable_headers", Flag)]);

pub(super) static GRAPH_QL_RESPONSE_EXTENSIONS: Type =
    Type::new(&[field("on_error_forwarding", Flag)]);

pub(super) static GRAPH_QL_SUBGRAPH_CONFIG: Type = Type::new(&[field("sdl", Text)]);

pub(super) static GRAPH_QL_SUBGRAPH_ENTITY: Type = Type::new(&[
    field("api_id", Text),
    field("headers", Map(&Text)),
    field("name", Text),
    field("sdl", Text),
    field("sse_use_post", Flag),
    field("subscription_type", Text),
    field("url", Text),
]);

pub(super) static GRAPH_QL_SUPERGRAPH_CONFIG: Type = Type::new(&[
    field("disable_query_batching", Flag),
    field("global_headers", Map(&Text)),
    field("merged_sdl", Text),
    field("subgraphs", List(&Object(&GRAPH_QL_SUBGRAPH_ENTITY))),
    field("updated_at", Text),
]);

pub(super) static GRAPH_QL_TYPE_FIELDS: Type =
    Type::new(&[field("fields", List(&Text)), field("type", Text)]);

pub(super) static HARD_TIMEOUT_META: Type = Type::new(&[
    field("disabled", Flag),
    field("duration", Duration(Units::Any)).about("The same as a text, such as 500ms."),
    field("method", Text),
    field("path", Path),
    field("timeout", Whole).about("Seconds."),
]);

pub(super) static HEADER_INJECTION_META: Type = Type::new(&[
    field("act_on", Flag),
    field("add_headers", Map(&Text)),
    field("delete_headers", List(&Text)),
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
]);

pub(super) static HOST_CHECK_OBJECT: Type = Type::new(&[
    field("body", Text),
    field("commands", List(&Object(&CHECK_COMMAND))),
    field("enable_proxy_protocol", Flag),
    field("headers", Map(&Text)),
    field("method", Text),
    field("protocol", Text),
    field("timeout", Whole),
    field("url", Text),
]);

pub(super) static INTERNAL_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
]);

pub(super) static INTROSPECTION: Type = Type::new(&[
    field("cache", Object(&INTROSPECTION_CACHE)),
    field("client_id", Text),
    field("client_secret", Text),
    field("enabled", Flag),
    field("identity_base_field", Text),
    field("url", Text),
]);

pub(super) static INTROSPECTION_CACHE: Type =
    Type::new(&[field("enabled", Flag), field("timeout", Whole)]);

pub(super) static JWK: Type = Type::new(&[
    field("cache_timeout", Duration(Units::Any)),
    field("url", Text),
]);

pub(super) static JWT_VALIDATION: Type = Type::new(&[
    field("enabled", Flag),
    field("expires_at_validation_skew", Count),
    field("identity_base_field", Text),
    field("issued_at_validation_skew", Count),
    field("not_before_validation_skew", Count),
    field("signing_method", Text),
    field("source", Text),
]);

pub(super) static METHOD_TRANSFORM_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("to_method", Text),
]);

pub(super) static MIDDLEWARE_DEFINITION: Type = Type::new(&[
    field("disabled", Flag),
    field("name", Text),
    field("path", Text),
    field("raw_body_only", Flag),
    field("require_session", Flag),
]);

pub(super) static MIDDLEWARE_ID_EXTRACTOR: Type = Type::new(&[
    field("disabled", Flag),
    field("extract_from", Text),
    field("extract_with", Text),
    field("extractor_config", Map(&Any)),
]);

pub(super) static MIDDLEWARE_SECTION: Type = Type::new(&[
    field("auth_check", Object(&MIDDLEWARE_DEFINITION)),
    field("driver", Text),
    field("id_extractor", Object(&MIDDLEWARE_ID_EXTRACTOR)),
    field("post", List(&Object(&MIDDLEWARE_DEFINITION))),
    field("post_key_auth", List(&Object(&MIDDLEWARE_DEFINITION))),
    field("pre", List(&Object(&MIDDLEWARE_DEFINITION))),
    field("response", List(&Object(&MIDDLEWARE_DEFINITION))),
]);

pub(super) static MOCK_RESPONSE_META: Type = Type::new(&[
    field("body", Text),
    field("code", Whole),
    field("disabled", Flag),
    field("headers", Map(&Text)),
    field("ignore_case", Flag),
    field("method", Text),
    field("path", Path),
]);

pub(super) static NOTIFICATIONS_MANAGER: Type = Type::new(&[
    field("oauth_on_keychange_url", Text),
    field("shared_secret", Text),
]);

pub(super) static OID_PROVIDER_CONFIG: Type =
    Type::new(&[field("client_ids", Map(&Text)), field("issuer", Text)]);

pub(super) static OPEN_ID_OPTIONS: Type = Type::new(&[
    field("providers", List(&Object(&OID_PROVIDER_CONFIG))),
    field("segregate_by_client", Flag),
]);

pub(super) static PASSWORD_AUTHENTICATION: Type = Type::new(&[
    field("client_id", Text),
    field("client_secret", Text),
    field("extra_metadata", List(&Text)),
    field("header", Object(&AUTH_SOURCE)),
    field("password", Text),
    field("scopes", List(&Text)),
    field("token_url", Text),
    field("username", Text),
]);

pub(super) static PERSIST_GRAPH_QL_META: Type = Type::new(&[
    field("method", Text),
    field("operation", Text),
    field("path", Path),
    field("variables", Map(&Any)),
]);

pub(super) static PROVIDER: Type = Type::new(&[
    field("introspection", Object(&INTROSPECTION)),
    field("jwt", Object(&JWT_VALIDATION)),
]);

pub(super) static PROXY_CONFIG: Type = Type::new(&[
    field("check_host_against_uptime_tests", Flag)
        .about("Whether upstreams that are down are left out."),
    field("disable_strip_slash", Flag).about("Whether a path keeps its last slash."),
    field("enable_load_balancing", Flag)
        .about("Whether requests go to the targets of target_list in turns."),
    field("listen_path", Text).about("The path below which the API listens, such as /orders/."),
    field("preserve_host_header", Flag)
        .about("Whether the upstream sees the client's Host header."),
    field(
        "service_discovery",
        Object(&SERVICE_DISCOVERY_CONFIGURATION),
    )
    .about("A service that is asked for the upstream's address."),
    field("strip_listen_path", Flag)
        .about("Whether the upstream sees paths without the listen path."),
    field("target_list", List(&Text))
        .about("Addresses of upstreams; one that stands twice gets twice as many requests."),
    field("target_url", Text).about("The upstream's address, such as http://orders.internal:8080."),
    field("transport", Object(&PROXY_CONFIG_TRANSPORT))
        .about("TLS towards the upstream, and a proxy on the way."),
]);

pub(super) static PROXY_CONFIG_TRANSPORT: Type = Type::new(&[
    field("proxy_url", Text),
    field("ssl_ciphers", List(&Text)),
    field("ssl_force_common_name_check", Flag),
    field("ssl_insecure_skip_verify", Flag),
    field("ssl_max_version", Count),
    field("ssl_min_version", Count),
]);

pub(super) static RATE_LIMIT_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("per", Number).about("The period in seconds."),
    field("rate", Number).about("Requests in one period."),
]);

pub(super) static REQUEST_HEADERS_REWRITE_CONFIG: Type =
    Type::new(&[field("remove", Flag), field("value", Text)]);

pub(super) static REQUEST_SIGNING_META: Type = Type::new(&[
    field("algorithm", Text),
    field("certificate_id", Text),
    field("header_list", List(&Text)),
    field("is_enabled", Flag),
    field("key_id", Text),
    field("secret", Text),
    field("signature_header", Text),
]);

pub(super) static REQUEST_SIZE_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("size_limit", Whole),
]);

pub(super) static RESPONSE_PROCESSOR: Type =
    Type::new(&[field("name", Text), field("options", Any)]);

pub(super) static ROUTING_TRIGGER: Type = Type::new(&[
    field("on", Text),
    field("options", Object(&ROUTING_TRIGGER_OPTIONS)),
    field("rewrite_to", Text),
]);

pub(super) static ROUTING_TRIGGER_OPTIONS: Type = Type::new(&[
    field("header_matches", Map(&Object(&STRING_REGEX_MAP))),
    field("path_part_matches", Map(&Object(&STRING_REGEX_MAP))),
    field("payload_matches", Object(&STRING_REGEX_MAP)),
    field("query_val_matches", Map(&Object(&STRING_REGEX_MAP))),
    field("request_context_matches", Map(&Object(&STRING_REGEX_MAP))),
    field("session_meta_matches", Map(&Object(&STRING_REGEX_MAP))),
]);

pub(super) static SCOPE_CLAIM: Type = Type::new(&[
    field("scope_claim_name", Text),
    field("scope_to_policy", Map(&Text)),
]);

pub(super) static SCOPES: Type = Type::new(&[
    field("jwt", Object(&SCOPE_CLAIM)),
    field("oidc", Object(&SCOPE_CLAIM)),
]);

pub(super) static SERVICE_DISCOVERY_CONFIGURATION: Type = Type::new(&[
    field("cache_disabled", Flag),
    field("cache_timeout", Whole),
    field("data_path", Text),
    field("endpoint_returns_list", Flag),
    field("parent_data_path", Text),
    field("port_data_path", Text),
    field("query_endpoint", Text),
    field("target_path", Text),
    field("use_discovery_service", Flag),
    field("use_nested_query", Flag),
    field("use_target_list", Flag),
]);

pub(super) static SESSION_PROVIDER_META: Type = Type::new(&[
    field("meta", Map(&Any)),
    field("name", Text),
    field("storage_engine", Text),
]);

pub(super) static SIGNATURE_CONFIG: Type = Type::new(&[
    field("algorithm", Text),
    field("allowed_clock_skew", Whole),
    field("error_code", Whole),
    field("error_message", Text),
    field("header", Text),
    field("param_name", Text),
    field("secret", Text),
    field("use_param", Flag),
]);

pub(super) static STRING_REGEX_MAP: Type =
    Type::new(&[field("match_rx", Pattern), field("reverse", Flag)]);

pub(super) static TEMPLATE_DATA: Type = Type::new(&[
    field("enable_session", Flag),
    field("input_type", Text),
    field("template_mode", Text),
    field("template_source", Text),
]);

pub(super) static TEMPLATE_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
    field("template_data", Object(&TEMPLATE_DATA)),
]);

pub(super) static TRACK_ENDPOINT_META: Type = Type::new(&[
    field("disabled", Flag),
    field("method", Text),
    field("path", Path),
]);

pub(super) static TRANSFORM_JQ_META: Type = Type::new(&[
    field("filter", Text),
    field("method", Text),
    field("path", Path),
]);

pub(super) static UDG_GLOBAL_HEADER: Type = Type::new(&[field("key", Text), field("value", Text)]);

pub(super) static URL_REWRITE_META: Type = Type::new(&[
    field("disabled", Flag),
    field("match_pattern", Pattern)
        .about("A regular expression over the path; its groups are $1, $2 …"),
    field("method", Text).about("The HTTP method."),
    field("path", Path).about("The path, with {variables} or a regular expression."),
    field("rewrite_to", Text).about("The new path or address."),
    field("triggers", List(&Object(&ROUTING_TRIGGER))),
]);

pub(super) static UPSTREAM_AUTH: Type = Type::new(&[
    field("basic_auth", Object(&UPSTREAM_BASIC_AUTH)),
    field("enabled", Flag),
    field("oauth", Object(&UPSTREAM_O_AUTH)),
]);

pub(super) static UPSTREAM_BASIC_AUTH: Type = Type::new(&[
    field("enabled", Flag),
    field("header", Object(&AUTH_SOURCE)),
    field("password", Text),
    field("username", Text),
]);

pub(super) static UPSTREAM_O_AUTH: Type = Type::new(&[
    field("allowed_authorize_types", List(&Text)),
    field("client_credentials", Object(&CLIENT_CREDENTIALS)),
    field("enabled", Flag),
    field("password", Object(&PASSWORD_AUTHENTICATION)),
]);

pub(super) static UPTIME_TESTS: Type = Type::new(&[
    field("check_list", List(&Object(&HOST_CHECK_OBJECT))),
    field("config", Object(&UPTIME_TESTS_CONFIG)),
    field("disabled", Flag),
]);

pub(super) static UPTIME_TESTS_CONFIG: Type = Type::new(&[
    field("expire_utime_after", Whole),
    field("recheck_wait", Whole),
    field(
        "service_discovery",
        Object(&SERVICE_DISCOVERY_CONFIGURATION),
    ),
]);

pub(super) static VALIDATE_PATH_META: Type = Type::new(&[
    field("disabled", Flag),
    field("error_response_code", Whole),
    field("method", Text),
    field("path", Path),
    field("schema", Map(&Any)),
    field("schema_b64", Text),
]);

pub(super) static VALIDATE_REQUEST_META: Type = Type::new(&[
    field("enabled", Flag),
    field("error_response_code", Whole),
    field("method", Text),
    field("path", Path),
]);

pub(super) static VERSION_DATA: Type = Type::new(&[
    field("default_version", Text).about("The version of requests that name none."),
    field("not_versioned", Flag).about("Whether the API has the one version Default."),
    field("versions", Map(&Object(&VERSION_INFO))).about("What each version does, by its name."),
]);

pub(super) static VERSION_DEFINITION: Type = Type::new(&[
    field("default", Text).about("The version of requests that name none."),
    field("enabled", Flag).about("Whether the API has versions."),
    field("fallback_to_default", Flag).about("Whether an unknown version gets the default one."),
    field("key", Text).about("The header's or parameter's name."),
    field("location", Text).about("Where a request names its version: header, url-param or url."),
    field("name", Text).about("This API's own version name."),
    field("strip_path", Flag),
    field("strip_versioning_data", Flag).about("Whether the upstream does not see the version."),
    field("url_versioning_pattern", Text),
    field("versions", Map(&Text))
        .about("Ids of the APIs that are the versions, by the versions' names."),
]);

pub(super) static VERSION_INFO: Type = Type::new(&[
    field("expires", Text).about("When it ends, as 2006-01-02 15:04."),
    field("extended_paths", Object(&EXTENDED_PATHS_SET)).about("Middleware by path and method."),
    field("global_enforce_timeout", Duration(Units::Any))
        .about("The longest an upstream may take, such as 5s."),
    field("global_enforce_timeout_disabled", Flag),
    field("global_headers", Map(&Text)).about("Headers that are added to every request."),
    field("global_headers_disabled", Flag),
    field("global_headers_remove", List(&Text)).about("Headers that are taken from every request."),
    field("global_response_headers", Map(&Text)).about("Headers that are added to every response."),
    field("global_response_headers_disabled", Flag),
    field("global_response_headers_remove", List(&Text)),
    field("global_size_limit", Whole).about("The largest request in bytes; 0 for no limit."),
    field("global_size_limit_disabled", Flag),
    field("ignore_endpoint_case", Flag),
    field("name", Text).about("The version's name."),
    field("override_target", Text).about("Another upstream for this version."),
    field("paths", Object(&VERSION_INFO_PATHS)),
    field("use_extended_paths", Flag).about("Whether extended_paths count."),
]);

pub(super) static VERSION_INFO_PATHS: Type = Type::new(&[
    field("black_list", List(&Text)),
    field("ignored", List(&Text)),
    field("white_list", List(&Text)),
]);

pub(super) static VIRTUAL_META: Type = Type::new(&[
    field("disabled", Flag),
    field("function_source_type", Text),
    field("function_source_uri", Text),
    field("method", Text),
    field("path", Path),
    field("proxy_on_error", Flag),
    field("response_function_name", Text),
    field("use_session", Flag),
]);
