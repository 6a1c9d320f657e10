//! Which member of an OAS document becomes which member of the classic definition, where the one
//! is the other in another place or another unit. Observed member by member.

/// How a value is carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    Same,
    /// A switch that says the opposite; absent is off, so the classic one is on.
    Not,
    /// A duration in whole seconds.
    Seconds,
    /// A name of a TLS version as its number.
    Tls,
}

use Carry::{Not, Same, Seconds, Tls};

pub const ROWS: &[(&str, &str, Carry)] = &[
    ("/info/id", "/api_id", Same),
    ("/info/dbId", "/id", Same),
    ("/info/orgId", "/org_id", Same),
    ("/info/name", "/name", Same),
    ("/info/expiration", "/expiration", Same),
    ("/info/state/active", "/active", Same),
    ("/info/state/internal", "/internal", Same),
    ("/info/versioning/enabled", "/definition/enabled", Same),
    ("/info/versioning/name", "/definition/name", Same),
    ("/info/versioning/default", "/definition/default", Same),
    ("/info/versioning/location", "/definition/location", Same),
    ("/info/versioning/key", "/definition/key", Same),
    (
        "/info/versioning/stripVersioningData",
        "/definition/strip_versioning_data",
        Same,
    ),
    (
        "/info/versioning/urlVersioningPattern",
        "/definition/url_versioning_pattern",
        Same,
    ),
    (
        "/info/versioning/fallbackToDefault",
        "/definition/fallback_to_default",
        Same,
    ),
    ("/upstream/url", "/proxy/target_url", Same),
    (
        "/upstream/mutualTLS/enabled",
        "/upstream_certificates_disabled",
        Not,
    ),
    (
        "/upstream/certificatePinning/enabled",
        "/certificate_pinning_disabled",
        Not,
    ),
    (
        "/upstream/rateLimit/enabled",
        "/global_rate_limit/disabled",
        Not,
    ),
    ("/upstream/rateLimit/rate", "/global_rate_limit/rate", Same),
    ("/upstream/rateLimit/per", "/global_rate_limit/per", Seconds),
    (
        "/upstream/authentication/enabled",
        "/upstream_auth/enabled",
        Same,
    ),
    (
        "/upstream/authentication/basicAuth/enabled",
        "/upstream_auth/basic_auth/enabled",
        Same,
    ),
    (
        "/upstream/authentication/basicAuth/username",
        "/upstream_auth/basic_auth/username",
        Same,
    ),
    (
        "/upstream/authentication/basicAuth/password",
        "/upstream_auth/basic_auth/password",
        Same,
    ),
    (
        "/upstream/authentication/basicAuth/header/enabled",
        "/upstream_auth/basic_auth/header/enabled",
        Same,
    ),
    (
        "/upstream/authentication/basicAuth/header/name",
        "/upstream_auth/basic_auth/header/name",
        Same,
    ),
    (
        "/upstream/authentication/oauth/enabled",
        "/upstream_auth/oauth/enabled",
        Same,
    ),
    (
        "/upstream/authentication/oauth/allowedAuthorizeTypes",
        "/upstream_auth/oauth/allowed_authorize_types",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/clientId",
        "/upstream_auth/oauth/client_credentials/client_id",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/clientSecret",
        "/upstream_auth/oauth/client_credentials/client_secret",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/tokenUrl",
        "/upstream_auth/oauth/client_credentials/token_url",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/scopes",
        "/upstream_auth/oauth/client_credentials/scopes",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/extraMetadata",
        "/upstream_auth/oauth/client_credentials/extra_metadata",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/header/enabled",
        "/upstream_auth/oauth/client_credentials/header/enabled",
        Same,
    ),
    (
        "/upstream/authentication/oauth/clientCredentials/header/name",
        "/upstream_auth/oauth/client_credentials/header/name",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/clientId",
        "/upstream_auth/oauth/password/client_id",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/clientSecret",
        "/upstream_auth/oauth/password/client_secret",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/username",
        "/upstream_auth/oauth/password/username",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/password",
        "/upstream_auth/oauth/password/password",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/tokenUrl",
        "/upstream_auth/oauth/password/token_url",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/scopes",
        "/upstream_auth/oauth/password/scopes",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/extraMetadata",
        "/upstream_auth/oauth/password/extra_metadata",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/header/enabled",
        "/upstream_auth/oauth/password/header/enabled",
        Same,
    ),
    (
        "/upstream/authentication/oauth/password/header/name",
        "/upstream_auth/oauth/password/header/name",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/enabled",
        "/request_signing/is_enabled",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/signatureHeader",
        "/request_signing/signature_header",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/algorithm",
        "/request_signing/algorithm",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/keyId",
        "/request_signing/key_id",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/headers",
        "/request_signing/header_list",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/secret",
        "/request_signing/secret",
        Same,
    ),
    (
        "/upstream/authentication/requestSigning/certificateId",
        "/request_signing/certificate_id",
        Same,
    ),
    (
        "/upstream/preserveHostHeader/enabled",
        "/proxy/preserve_host_header",
        Same,
    ),
    (
        "/upstream/preserveTrailingSlash/enabled",
        "/proxy/disable_strip_slash",
        Same,
    ),
    (
        "/upstream/tlsTransport/insecureSkipVerify",
        "/proxy/transport/ssl_insecure_skip_verify",
        Same,
    ),
    (
        "/upstream/tlsTransport/ciphers",
        "/proxy/transport/ssl_ciphers",
        Same,
    ),
    (
        "/upstream/tlsTransport/minVersion",
        "/proxy/transport/ssl_min_version",
        Tls,
    ),
    (
        "/upstream/tlsTransport/maxVersion",
        "/proxy/transport/ssl_max_version",
        Tls,
    ),
    (
        "/upstream/tlsTransport/forceCommonNameCheck",
        "/proxy/transport/ssl_force_common_name_check",
        Same,
    ),
    ("/upstream/proxy/url", "/proxy/transport/proxy_url", Same),
    (
        "/upstream/enforceTimeout/enabled",
        "/version_data/versions//global_enforce_timeout_disabled",
        Not,
    ),
    (
        "/upstream/enforceTimeout/duration",
        "/version_data/versions//global_enforce_timeout",
        Same,
    ),
    (
        "/upstream/uptimeTests/enabled",
        "/uptime_tests/disabled",
        Not,
    ),
    (
        "/upstream/uptimeTests/hostDownRetestPeriod",
        "/uptime_tests/config/recheck_wait",
        Seconds,
    ),
    (
        "/upstream/uptimeTests/logRetentionPeriod",
        "/uptime_tests/config/expire_utime_after",
        Seconds,
    ),
    ("/server/listenPath/value", "/proxy/listen_path", Same),
    ("/server/listenPath/strip", "/proxy/strip_listen_path", Same),
    ("/server/protocol", "/protocol", Same),
    ("/server/port", "/listen_port", Same),
    (
        "/server/clientCertificates/enabled",
        "/use_mutual_tls_auth",
        Same,
    ),
    (
        "/server/clientCertificates/allowlist",
        "/client_certificates",
        Same,
    ),
    ("/server/gatewayTags/enabled", "/tags_disabled", Not),
    ("/server/gatewayTags/tags", "/tags", Same),
    ("/server/customDomain/enabled", "/domain_disabled", Not),
    ("/server/customDomain/name", "/domain", Same),
    ("/server/customDomain/certificates", "/certificates", Same),
    (
        "/server/detailedActivityLogs/enabled",
        "/enable_detailed_recording",
        Same,
    ),
    ("/server/detailedTracing/enabled", "/detailed_tracing", Same),
    (
        "/server/ipAccessControl/enabled",
        "/ip_access_control_disabled",
        Not,
    ),
    ("/server/ipAccessControl/allow", "/allowed_ips", Same),
    ("/server/ipAccessControl/block", "/blacklisted_ips", Same),
    (
        "/server/batchProcessing/enabled",
        "/enable_batch_request_support",
        Same,
    ),
    ("/server/authentication/enabled", "/use_keyless", Not),
    (
        "/server/authentication/stripAuthorizationData",
        "/strip_auth_data",
        Same,
    ),
    (
        "/server/authentication/baseIdentityProvider",
        "/base_identity_provided_by",
        Same,
    ),
    (
        "/server/authentication/hmac/enabled",
        "/enable_signature_checking",
        Same,
    ),
    (
        "/server/authentication/hmac/allowedAlgorithms",
        "/hmac_allowed_algorithms",
        Same,
    ),
    (
        "/server/authentication/hmac/allowedClockSkew",
        "/hmac_allowed_clock_skew",
        Same,
    ),
    ("/server/authentication/oidc/enabled", "/use_openid", Same),
    (
        "/server/authentication/oidc/segregateByClientId",
        "/openid_options/segregate_by_client",
        Same,
    ),
    (
        "/server/authentication/oidc/scopes/claimName",
        "/scopes/oidc/scope_claim_name",
        Same,
    ),
    (
        "/server/authentication/custom/enabled",
        "/custom_plugin_auth_enabled",
        Same,
    ),
    (
        "/server/authentication/custom/config/enabled",
        "/custom_middleware/auth_check/disabled",
        Not,
    ),
    (
        "/server/authentication/custom/config/functionName",
        "/custom_middleware/auth_check/name",
        Same,
    ),
    (
        "/server/authentication/custom/config/path",
        "/custom_middleware/auth_check/path",
        Same,
    ),
    (
        "/server/authentication/custom/config/rawBodyOnly",
        "/custom_middleware/auth_check/raw_body_only",
        Same,
    ),
    (
        "/server/authentication/custom/config/requireSession",
        "/custom_middleware/auth_check/require_session",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/enabled",
        "/custom_middleware/id_extractor/disabled",
        Not,
    ),
    (
        "/server/authentication/custom/config/idExtractor/source",
        "/custom_middleware/id_extractor/extract_from",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/with",
        "/custom_middleware/id_extractor/extract_with",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/config/headerName",
        "/custom_middleware/id_extractor/extractor_config/header_name",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/config/formParamName",
        "/custom_middleware/id_extractor/extractor_config/param_name",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/config/regexp",
        "/custom_middleware/id_extractor/extractor_config/regex_expression",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/config/regexpMatchIndex",
        "/custom_middleware/id_extractor/extractor_config/regex_match_index",
        Same,
    ),
    (
        "/server/authentication/custom/config/idExtractor/config/xPathExp",
        "/custom_middleware/id_extractor/extractor_config/xpath_expression",
        Same,
    ),
    (
        "/server/authentication/customKeyLifetime/value",
        "/session_lifetime",
        Seconds,
    ),
    (
        "/server/authentication/customKeyLifetime/respectValidity",
        "/session_lifetime_respects_key_expiration",
        Same,
    ),
    (
        "/middleware/global/pluginConfig/driver",
        "/custom_middleware/driver",
        Same,
    ),
    (
        "/middleware/global/pluginConfig/bundle/enabled",
        "/custom_middleware_bundle_disabled",
        Not,
    ),
    (
        "/middleware/global/pluginConfig/bundle/path",
        "/custom_middleware_bundle",
        Same,
    ),
    (
        "/middleware/global/pluginConfig/data/enabled",
        "/config_data_disabled",
        Not,
    ),
    (
        "/middleware/global/pluginConfig/data/value",
        "/config_data",
        Same,
    ),
    ("/middleware/global/cors/enabled", "/CORS/enable", Same),
    ("/middleware/global/cors/maxAge", "/CORS/max_age", Same),
    (
        "/middleware/global/cors/allowCredentials",
        "/CORS/allow_credentials",
        Same,
    ),
    (
        "/middleware/global/cors/exposedHeaders",
        "/CORS/exposed_headers",
        Same,
    ),
    (
        "/middleware/global/cors/allowedHeaders",
        "/CORS/allowed_headers",
        Same,
    ),
    (
        "/middleware/global/cors/optionsPassthrough",
        "/CORS/options_passthrough",
        Same,
    ),
    ("/middleware/global/cors/debug", "/CORS/debug", Same),
    (
        "/middleware/global/cors/allowedOrigins",
        "/CORS/allowed_origins",
        Same,
    ),
    (
        "/middleware/global/cors/allowedMethods",
        "/CORS/allowed_methods",
        Same,
    ),
    (
        "/middleware/global/cache/enabled",
        "/cache_options/enable_cache",
        Same,
    ),
    (
        "/middleware/global/cache/timeout",
        "/cache_options/cache_timeout",
        Same,
    ),
    (
        "/middleware/global/cache/cacheAllSafeRequests",
        "/cache_options/cache_all_safe_requests",
        Same,
    ),
    (
        "/middleware/global/cache/cacheResponseCodes",
        "/cache_options/cache_response_codes",
        Same,
    ),
    (
        "/middleware/global/cache/cacheByHeaders",
        "/cache_options/cache_by_headers",
        Same,
    ),
    (
        "/middleware/global/cache/enableUpstreamCacheControl",
        "/cache_options/enable_upstream_cache_control",
        Same,
    ),
    (
        "/middleware/global/cache/controlTTLHeaderName",
        "/cache_options/cache_control_ttl_header",
        Same,
    ),
    (
        "/middleware/global/transformRequestHeaders/enabled",
        "/version_data/versions//global_headers_disabled",
        Not,
    ),
    (
        "/middleware/global/transformRequestHeaders/remove",
        "/version_data/versions//global_headers_remove",
        Same,
    ),
    (
        "/middleware/global/transformResponseHeaders/enabled",
        "/version_data/versions//global_response_headers_disabled",
        Not,
    ),
    (
        "/middleware/global/transformResponseHeaders/remove",
        "/version_data/versions//global_response_headers_remove",
        Same,
    ),
    (
        "/middleware/global/contextVariables/enabled",
        "/enable_context_vars",
        Same,
    ),
    (
        "/middleware/global/trafficLogs/enabled",
        "/do_not_track",
        Not,
    ),
    (
        "/middleware/global/trafficLogs/tagHeaders",
        "/tag_headers",
        Same,
    ),
    (
        "/middleware/global/trafficLogs/customRetentionPeriod",
        "/expire_analytics_after",
        Seconds,
    ),
    (
        "/middleware/global/requestSizeLimit/enabled",
        "/version_data/versions//global_size_limit_disabled",
        Not,
    ),
    (
        "/middleware/global/requestSizeLimit/value",
        "/version_data/versions//global_size_limit",
        Same,
    ),
    (
        "/middleware/global/ignoreCase/enabled",
        "/version_data/versions//ignore_endpoint_case",
        Same,
    ),
    (
        "/middleware/global/skipRateLimit",
        "/disable_rate_limit",
        Same,
    ),
    ("/middleware/global/skipQuota", "/disable_quota", Same),
    (
        "/middleware/global/skipQuotaReset",
        "/dont_set_quota_on_create",
        Same,
    ),
    ("/errorOverrides/enabled", "/error_overrides_disabled", Not),
];

/// Discovery of services: for the upstream, and for the tests of its uptime.
pub const DISCOVERY: &[(&str, &str, Carry)] = &[
    ("/enabled", "/use_discovery_service", Same),
    ("/queryEndpoint", "/query_endpoint", Same),
    ("/dataPath", "/data_path", Same),
    ("/useNestedQuery", "/use_nested_query", Same),
    ("/parentDataPath", "/parent_data_path", Same),
    ("/portDataPath", "/port_data_path", Same),
    ("/useTargetList", "/use_target_list", Same),
    ("/targetPath", "/target_path", Same),
    ("/endpointReturnsList", "/endpoint_returns_list", Same),
];

/// Where a JSON web token scheme goes.
pub const JWT: &[(&str, &str, Carry)] = &[
    ("/enabled", "/enable_jwt", Same),
    ("/source", "/jwt_source", Same),
    ("/signingMethod", "/jwt_signing_method", Same),
    ("/identityBaseField", "/jwt_identity_base_field", Same),
    ("/skipKid", "/jwt_skip_kid", Same),
    ("/policyFieldName", "/jwt_policy_field_name", Same),
    ("/clientBaseField", "/jwt_client_base_field", Same),
    ("/scopes/claimName", "/scopes/jwt/scope_claim_name", Same),
    ("/defaultPolicies", "/jwt_default_policies", Same),
    (
        "/issuedAtValidationSkew",
        "/jwt_issued_at_validation_skew",
        Same,
    ),
    (
        "/notBeforeValidationSkew",
        "/jwt_not_before_validation_skew",
        Same,
    ),
    (
        "/expiresAtValidationSkew",
        "/jwt_expires_at_validation_skew",
        Same,
    ),
    (
        "/idpClientIdMappingDisabled",
        "/idp_client_id_mapping_disabled",
        Same,
    ),
];

pub const BASIC: &[(&str, &str, Carry)] = &[
    ("/enabled", "/use_basic_auth", Same),
    ("/disableCaching", "/basic_auth/disable_caching", Same),
    ("/cacheTTL", "/basic_auth/cache_ttl", Same),
    (
        "/extractCredentialsFromBody/enabled",
        "/basic_auth/extract_from_body",
        Same,
    ),
    (
        "/extractCredentialsFromBody/userRegexp",
        "/basic_auth/body_user_regexp",
        Same,
    ),
    (
        "/extractCredentialsFromBody/passwordRegexp",
        "/basic_auth/body_password_regexp",
        Same,
    ),
];

pub const OAUTH: &[(&str, &str, Carry)] = &[
    ("/enabled", "/use_oauth2", Same),
    (
        "/allowedAuthorizeTypes",
        "/oauth_meta/allowed_authorize_types",
        Same,
    ),
    (
        "/authLoginRedirect",
        "/oauth_meta/auth_login_redirect",
        Same,
    ),
    (
        "/notifications/sharedSecret",
        "/notifications/shared_secret",
        Same,
    ),
    (
        "/notifications/onKeyChangeUrl",
        "/notifications/oauth_on_keychange_url",
        Same,
    ),
];

/// The sources of a token, for any scheme.
pub const SOURCES: &[(&str, &str, Carry)] = &[
    ("/header/enabled", "/disable_header", Not),
    ("/header/name", "/auth_header_name", Same),
    ("/query/enabled", "/use_param", Same),
    ("/query/name", "/param_name", Same),
    ("/cookie/enabled", "/use_cookie", Same),
    ("/cookie/name", "/cookie_name", Same),
    ("/enableClientCertificate", "/use_certificate", Same),
    ("/signatureValidation/enabled", "/validate_signature", Same),
    (
        "/signatureValidation/algorithm",
        "/signature/algorithm",
        Same,
    ),
    ("/signatureValidation/header", "/signature/header", Same),
    (
        "/signatureValidation/query/enabled",
        "/signature/use_param",
        Same,
    ),
    (
        "/signatureValidation/query/name",
        "/signature/param_name",
        Same,
    ),
    ("/signatureValidation/secret", "/signature/secret", Same),
    (
        "/signatureValidation/allowedClockSkew",
        "/signature/allowed_clock_skew",
        Same,
    ),
    (
        "/signatureValidation/errorCode",
        "/signature/error_code",
        Same,
    ),
    (
        "/signatureValidation/errorMessage",
        "/signature/error_message",
        Same,
    ),
];

/// The parts of an operation that become one entry of a list of extended paths.
pub const ENDPOINTS: &[(&str, &str, &[(&str, &str, Carry)])] = &[
    (
        "allow",
        "white_list",
        &[
            ("/enabled", "/disabled", Not),
            ("/ignoreCase", "/ignore_case", Same),
        ],
    ),
    (
        "block",
        "black_list",
        &[
            ("/enabled", "/disabled", Not),
            ("/ignoreCase", "/ignore_case", Same),
        ],
    ),
    (
        "ignoreAuthentication",
        "ignored",
        &[
            ("/enabled", "/disabled", Not),
            ("/ignoreCase", "/ignore_case", Same),
        ],
    ),
    ("internal", "internal", &[("/enabled", "/disabled", Not)]),
    (
        "transformRequestMethod",
        "method_transforms",
        &[
            ("/enabled", "/disabled", Not),
            ("/toMethod", "/to_method", Same),
        ],
    ),
    (
        "transformRequestHeaders",
        "transform_headers",
        &[
            ("/enabled", "/disabled", Not),
            ("/remove", "/delete_headers", Same),
        ],
    ),
    (
        "transformResponseHeaders",
        "transform_response_headers",
        &[
            ("/enabled", "/disabled", Not),
            ("/remove", "/delete_headers", Same),
        ],
    ),
    (
        "transformRequestBody",
        "transform",
        &[
            ("/enabled", "/disabled", Not),
            ("/format", "/template_data/input_type", Same),
        ],
    ),
    (
        "transformResponseBody",
        "transform_response",
        &[
            ("/enabled", "/disabled", Not),
            ("/format", "/template_data/input_type", Same),
        ],
    ),
    (
        "urlRewrite",
        "url_rewrites",
        &[
            ("/enabled", "/disabled", Not),
            ("/pattern", "/match_pattern", Same),
            ("/rewriteTo", "/rewrite_to", Same),
        ],
    ),
    (
        "cache",
        "advance_cache_config",
        &[
            ("/enabled", "/disabled", Not),
            ("/cacheByRegex", "/cache_key_regex", Same),
            ("/cacheResponseCodes", "/cache_response_codes", Same),
            ("/timeout", "/timeout", Same),
        ],
    ),
    (
        "enforceTimeout",
        "hard_timeouts",
        &[
            ("/enabled", "/disabled", Not),
            ("/value", "/timeout", Same),
            ("/duration", "/duration", Same),
        ],
    ),
    (
        "virtualEndpoint",
        "virtual",
        &[
            ("/enabled", "/disabled", Not),
            ("/functionName", "/response_function_name", Same),
            ("/path", "/function_source_uri", Same),
            ("/proxyOnError", "/proxy_on_error", Same),
            ("/requireSession", "/use_session", Same),
        ],
    ),
    (
        "postPlugins",
        "go_plugin",
        &[
            ("/0/enabled", "/disabled", Not),
            ("/0/functionName", "/func_name", Same),
            ("/0/path", "/plugin_path", Same),
        ],
    ),
    (
        "circuitBreaker",
        "circuit_breakers",
        &[
            ("/enabled", "/disabled", Not),
            ("/threshold", "/threshold_percent", Same),
            ("/sampleSize", "/samples", Same),
            ("/coolDownPeriod", "/return_to_service_after", Same),
            ("/halfOpenStateEnabled", "/disable_half_open_state", Not),
        ],
    ),
    (
        "trackEndpoint",
        "track_endpoints",
        &[("/enabled", "/disabled", Not)],
    ),
    (
        "doNotTrackEndpoint",
        "do_not_track_endpoints",
        &[("/enabled", "/disabled", Not)],
    ),
    (
        "requestSizeLimit",
        "size_limits",
        &[
            ("/enabled", "/disabled", Not),
            ("/value", "/size_limit", Same),
        ],
    ),
    (
        "rateLimit",
        "rate_limit",
        &[
            ("/enabled", "/disabled", Not),
            ("/rate", "/rate", Same),
            ("/per", "/per", Seconds),
        ],
    ),
];

/// The kinds of rules of a rewrite, in the order in which they are shown.
pub const RULES: &[(&str, &str)] = &[
    ("query", "query_val_matches"),
    ("path", "path_part_matches"),
    ("header", "header_matches"),
    ("sessionMetadata", "session_meta_matches"),
    ("requestBody", "payload_matches"),
    ("requestContext", "request_context_matches"),
];
