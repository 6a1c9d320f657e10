//! What stands under `x-tyk-api-gateway`, as Tyk 5.14 checks it.

use super::{
    Shape::{
        Address, Any, Count, Domain, Duration, Filled, First, Flag, Fraction, Known, List, Map,
        Number, Object, OneOf, Pattern, Port, Text, Whole,
    },
    Type, Units, field,
};

pub(super) static EXTENSION: Type = Type::new(&[
    field("errorOverrides", Object(&ERROR_OVERRIDES))
        .about("Other answers in the place of the gateway's own errors."),
    field("info", Object(&INFO)).about("Which API this is."),
    field("middleware", Object(&MIDDLEWARE)).about("What is done with requests and responses."),
    field("server", Object(&SERVER)).about("Where it listens, and who may call it."),
    field("upstream", Object(&UPSTREAM)).about("Where its requests go."),
])
.requires(&["info", "server", "upstream"]);

pub(super) static SERVICE_DISCOVERY: Type = Type::new(&[
    field("cache", Object(&SERVICE_DISCOVERY_CACHE)),
    field("cacheTimeout", Whole),
    field("dataPath", Text),
    field("enabled", Flag),
    field("endpointReturnsList", Flag),
    field("parentDataPath", Text),
    field("portDataPath", Text),
    field("queryEndpoint", Text),
    field("targetPath", Text),
    field("useNestedQuery", Flag),
    field("useTargetList", Flag),
])
.requires(&["enabled"]);

pub(super) static SERVICE_DISCOVERY_CACHE: Type =
    Type::new(&[field("enabled", Flag), field("timeout", Whole)]).requires(&["enabled"]);

pub(super) static DETAILED_ACTIVITY_LOGS: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static AUTH_SOURCE: Type = Type::new(&[
    field("enabled", Flag).about("Whether it is looked at."),
    field("name", Text).about("Its name."),
])
.requires(&["enabled"]);

pub(super) static MUTUAL_TLS: Type = Type::new(&[
    field(
        "domainToCertificateMapping",
        First(&Object(&DOMAIN_TO_CERTIFICATE)),
    ),
    field("enabled", Flag),
])
.requires(&["domainToCertificateMapping", "enabled"]);

pub(super) static DOMAIN_TO_CERTIFICATE: Type =
    Type::new(&[field("certificate", Text), field("domain", Domain)])
        .requires(&["certificate", "domain"]);

pub(super) static CERTIFICATE_PINNING: Type = Type::new(&[
    field(
        "domainToPublicKeysMapping",
        First(&Object(&PINNED_PUBLIC_KEYS)),
    ),
    field("enabled", Flag),
])
.requires(&["domainToPublicKeysMapping", "enabled"]);

pub(super) static PINNED_PUBLIC_KEYS: Type =
    Type::new(&[field("domain", Domain), field("publicKeys", First(&Text))]);

pub(super) static CLIENT_TO_POLICY: Type =
    Type::new(&[field("clientId", Text), field("policyId", Text)]);

pub(super) static PROVIDER: Type = Type::new(&[
    field("clientToPolicyMapping", First(&Object(&CLIENT_TO_POLICY))),
    field("issuer", Text),
]);

pub(super) static SCOPE_TO_POLICY: Type =
    Type::new(&[field("policyId", Text), field("scope", Text)]);

pub(super) static SCOPES: Type = Type::new(&[
    field("claimName", Text),
    field("claims", List(&Text)),
    field("scopeToPolicyMapping", First(&Object(&SCOPE_TO_POLICY))),
]);

pub(super) static CLIENT_CERTIFICATES: Type = Type::new(&[
    field("allowlist", First(&Text)).about("Ids of certificates, or certificate:NAME."),
    field("enabled", Flag).about("Whether clients must show one of the certificates."),
]);

pub(super) static PLUGIN_CONFIG: Type = Type::new(&[
    field("bundle", Object(&PLUGIN_BUNDLE)),
    field("data", Object(&PLUGIN_CONFIG_DATA)),
    field(
        "driver",
        Known(&["otto", "python", "lua", "grpc", "goplugin"]),
    ),
]);

pub(super) static PLUGIN_CONFIG_DATA: Type =
    Type::new(&[field("enabled", Flag), field("value", Map(&Any))]).requires(&["enabled", "value"]);

pub(super) static CUSTOM_ANALYTICS_PLUGIN_CONFIG: Type = Type::new(&[
    field("enabled", Flag),
    field("functionName", Text),
    field("path", Text),
])
.requires(&["enabled"]);

pub(super) static CUSTOM_PLUGIN_CONFIG: Type =
    Type::new(&[field("plugins", First(&Object(&CUSTOM_PLUGIN_DEFINITION)))]);

pub(super) static CUSTOM_PLUGIN_DEFINITION: Type = Type::new(&[
    field("enabled", Flag),
    field("functionName", Text),
    field("path", Text),
    field("rawBodyOnly", Flag),
    field("requireSession", Flag),
])
.requires(&["enabled", "functionName"]);

pub(super) static ID_EXTRACTOR_CONFIG: Type = Type::new(&[
    field("formParamName", Text),
    field("headerName", Text),
    field("regexp", Pattern),
    field("regexpMatchIndex", Whole),
    field("xPathExp", Text),
]);

pub(super) static ID_EXTRACTOR: Type = Type::new(&[
    field("config", Object(&ID_EXTRACTOR_CONFIG)),
    field("enabled", Flag),
    field("source", OneOf(&["body", "header", "form"])),
    field("with", OneOf(&["value", "xpath", "regex"])),
])
.requires(&["config", "enabled", "source", "with"]);

pub(super) static AUTHENTICATION_PLUGIN: Type = Type::new(&[
    field("enabled", Flag),
    field("functionName", Text),
    field("idExtractor", Object(&ID_EXTRACTOR)),
    field("path", Text),
    field("rawBodyOnly", Flag),
    field("requireSession", Flag),
])
.requires(&["enabled", "functionName"]);

pub(super) static PLUGIN_BUNDLE: Type =
    Type::new(&[field("enabled", Flag), field("path", Filled)]).requires(&["enabled", "path"]);

pub(super) static CORS: Type = Type::new(&[
    field("allowCredentials", Flag),
    field("allowedHeaders", First(&Text)),
    field("allowedMethods", First(&Text)),
    field("allowedOrigins", First(&Text)),
    field("debug", Flag),
    field("enabled", Flag),
    field("exposedHeaders", First(&Text)),
    field("maxAge", Whole),
    field("optionsPassthrough", Flag),
])
.requires(&["enabled"]);

pub(super) static CACHE: Type = Type::new(&[
    field("cacheAllSafeRequests", Flag),
    field("cacheByHeaders", First(&Text)),
    field("cacheResponseCodes", First(&Whole)),
    field("controlTTLHeaderName", Text),
    field("enableUpstreamCacheControl", Flag),
    field("enabled", Flag),
    field("timeout", Whole),
]);

pub(super) static GLOBAL: Type = Type::new(&[
    field("cache", Object(&CACHE)).about("What is answered from a cache."),
    field("contextVariables", Object(&CONTEXT_VARIABLES))
        .about("Whether templates may use $tyk_context values."),
    field("cors", Object(&CORS)).about("Cross-origin requests of browsers."),
    field("ignoreCase", Object(&IGNORE_CASE)),
    field("pluginConfig", Object(&PLUGIN_CONFIG)).about("The driver, bundle and data of plugins."),
    field("postAuthenticationPlugin", Object(&CUSTOM_PLUGIN_CONFIG)),
    field(
        "postAuthenticationPlugins",
        First(&Object(&CUSTOM_PLUGIN_DEFINITION)),
    ),
    field("postPlugin", Object(&CUSTOM_PLUGIN_CONFIG)),
    field("postPlugins", First(&Object(&CUSTOM_PLUGIN_DEFINITION))),
    field("prePlugin", Object(&CUSTOM_PLUGIN_CONFIG)),
    field("prePlugins", First(&Object(&CUSTOM_PLUGIN_DEFINITION))),
    field("requestSizeLimit", Object(&GLOBAL_REQUEST_SIZE_LIMIT))
        .about("The largest request in bytes."),
    field("responsePlugin", Object(&CUSTOM_PLUGIN_CONFIG)),
    field("responsePlugins", First(&Object(&CUSTOM_PLUGIN_DEFINITION))),
    field("skipQuota", Flag).about("Whether no quota is enforced."),
    field("skipQuotaReset", Flag),
    field("skipRateLimit", Flag).about("Whether no rate limit is enforced."),
    field("trafficLogs", Object(&TRAFFIC_LOGS)).about("Whether analytics are written."),
    field("transformRequestHeaders", Object(&TRANSFORM_HEADERS))
        .about("Headers that are added to and taken from requests."),
    field("transformResponseHeaders", Object(&TRANSFORM_HEADERS))
        .about("Headers that are added to and taken from responses."),
]);

pub(super) static ALLOWANCE: Type =
    Type::new(&[field("enabled", Flag), field("ignoreCase", Flag)]).requires(&["enabled"]);

pub(super) static TRANSFORM_REQUEST_METHOD: Type =
    Type::new(&[field("enabled", Flag), field("toMethod", Text)])
        .requires(&["enabled", "toMethod"]);

pub(super) static TRANSFORM_BODY: Type = Type::new(&[
    field("body", Text),
    field("enabled", Flag),
    field("format", OneOf(&["json", "xml"])),
    field("path", Text),
])
.requires(&["enabled", "format"])
.needs_one_of(&["body", "path"]);

pub(super) static TRANSFORM_HEADERS: Type = Type::new(&[
    field("add", First(&Object(&HEADER))),
    field("enabled", Flag),
    field("remove", First(&Text)),
])
.requires(&["enabled"]);

pub(super) static CACHE_PLUGIN: Type = Type::new(&[
    field("cacheByRegex", Pattern),
    field("cacheResponseCodes", First(&Whole)),
    field("enabled", Flag),
    field("timeout", Count),
])
.requires(&["enabled"]);

pub(super) static ENFORCE_TIMEOUT: Type = Type::new(&[
    field("duration", Duration(Units::Timeout)),
    field("enabled", Flag),
    field("value", Count),
])
.requires(&["enabled"]);

pub(super) static GLOBAL_ENFORCE_TIMEOUT: Type = Type::new(&[
    field("duration", Duration(Units::Timeout)),
    field("enabled", Flag),
])
.requires(&["enabled"]);

pub(super) static VALIDATE_REQUEST: Type =
    Type::new(&[field("enabled", Flag), field("errorResponseCode", Whole)]).requires(&["enabled"]);

pub(super) static MOCK_RESPONSE_FROM_OAS_EXAMPLES: Type = Type::new(&[
    field("code", Whole),
    field("contentType", Text),
    field("enabled", Flag),
    field("exampleName", Text),
])
.requires(&["enabled"]);

pub(super) static MOCK_RESPONSE: Type = Type::new(&[
    field("body", Text),
    field("code", Whole),
    field("enabled", Flag),
    field("fromOASExamples", Object(&MOCK_RESPONSE_FROM_OAS_EXAMPLES)),
    field("headers", First(&Object(&HEADER))),
])
.requires(&["enabled"]);

pub(super) static REQUEST_SIZE_LIMIT: Type =
    Type::new(&[field("enabled", Flag), field("value", Count)]).requires(&["enabled", "value"]);

pub(super) static VIRTUAL_ENDPOINT: Type = Type::new(&[
    field("body", Text),
    field("enabled", Flag),
    field("functionName", Text),
    field("name", Text),
    field("path", Text),
    field("proxyOnError", Flag),
    field("requireSession", Flag),
])
.requires(&["enabled", "functionName"]);

pub(super) static URL_REWRITE: Type = Type::new(&[
    field("enabled", Flag),
    field("pattern", Pattern).about("A regular expression over the path; its groups are $1, $2 …"),
    field("rewriteTo", Text).about("The new path or address."),
    field("triggers", First(&Object(&URL_REWRITE_TRIGGER))),
])
.requires(&["enabled", "pattern", "rewriteTo"]);

pub(super) static TRACK_ENDPOINT: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static URL_REWRITE_TRIGGER: Type = Type::new(&[
    field("condition", OneOf(&["any", "all"])),
    field("rewriteTo", Text),
    field("rules", List(&Object(&URL_REWRITE_RULE))),
])
.requires(&["condition", "rewriteTo"]);

pub(super) static URL_REWRITE_RULE: Type = Type::new(&[
    field(
        "in",
        OneOf(&[
            "query",
            "path",
            "header",
            "sessionMetadata",
            "requestContext",
            "requestBody",
        ]),
    ),
    field("name", Text),
    field("negate", Flag),
    field("pattern", Pattern),
])
.requires(&["in", "pattern"]);

pub(super) static ENDPOINT_POST_PLUGIN: Type = Type::new(&[
    field("enabled", Flag),
    field("functionName", Text),
    field("name", Text),
    field("path", Text),
])
.requires(&["enabled", "functionName", "path"]);

pub(super) static INTERNAL: Type = Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static OPERATION: Type = Type::new(&[
    field("allow", Object(&ALLOWANCE))
        .about("The operation may be called; once one is allowed, nothing else may."),
    field("block", Object(&ALLOWANCE)).about("The operation may not be called."),
    field("cache", Object(&CACHE_PLUGIN)).about("What is answered from a cache."),
    field("circuitBreaker", Object(&CIRCUIT_BREAKER))
        .about("When to stop asking a failing upstream."),
    field("doNotTrackEndpoint", Object(&TRACK_ENDPOINT)),
    field("enforceTimeout", Object(&ENFORCE_TIMEOUT)).about("The longest the upstream may take."),
    field("exchange", Object(&O_AUTH2_EXCHANGE)),
    field("ignoreAuthentication", Object(&ALLOWANCE)).about("The operation needs no credentials."),
    field("internal", Object(&INTERNAL)).about("Only other APIs can call the operation."),
    field("mockResponse", Object(&MOCK_RESPONSE)).about("An answer without an upstream."),
    field("postPlugins", First(&Object(&ENDPOINT_POST_PLUGIN))),
    field("rateLimit", Object(&RATE_LIMIT)).about("A limit for all callers together."),
    field("requestSizeLimit", Object(&REQUEST_SIZE_LIMIT)).about("The largest request in bytes."),
    field("scopeCheck", Object(&SCOPE_CHECK)),
    field("trackEndpoint", Object(&TRACK_ENDPOINT)),
    field("transformRequestBody", Object(&TRANSFORM_BODY)),
    field("transformRequestHeaders", Object(&TRANSFORM_HEADERS))
        .about("Headers that are added to and taken from requests."),
    field("transformRequestMethod", Object(&TRANSFORM_REQUEST_METHOD)),
    field("transformResponseBody", Object(&TRANSFORM_BODY)),
    field("transformResponseHeaders", Object(&TRANSFORM_HEADERS))
        .about("Headers that are added to and taken from responses."),
    field("urlRewrite", Object(&URL_REWRITE)).about("Another path or address."),
    field("validateRequest", Object(&VALIDATE_REQUEST))
        .about("Requests must fit the OpenAPI document."),
    field("virtualEndpoint", Object(&VIRTUAL_ENDPOINT)).about("A script that answers."),
]);

pub(super) static PRIMITIVE: Type = Type::new(&[
    field("allow", Object(&ALLOWANCE)),
    field("block", Object(&ALLOWANCE)),
    field("cache", Object(&CACHE_PLUGIN)),
    field("circuitBreaker", Object(&CIRCUIT_BREAKER)),
    field("doNotTrackEndpoint", Object(&TRACK_ENDPOINT)),
    field("enforceTimeout", Object(&ENFORCE_TIMEOUT)),
    field("exchange", Object(&O_AUTH2_EXCHANGE)),
    field("ignoreAuthentication", Object(&ALLOWANCE)),
    field("internal", Object(&INTERNAL)),
    field("mockResponse", Object(&MOCK_RESPONSE)),
    field("postPlugins", First(&Object(&ENDPOINT_POST_PLUGIN))),
    field("rateLimit", Object(&RATE_LIMIT)),
    field("requestSizeLimit", Object(&REQUEST_SIZE_LIMIT)),
    field("scopeCheck", Object(&SCOPE_CHECK)),
    field("security", List(&Map(&List(&Text)))),
    field("trackEndpoint", Object(&TRACK_ENDPOINT)),
    field("transformRequestBody", Object(&TRANSFORM_BODY)),
    field("transformRequestHeaders", Object(&TRANSFORM_HEADERS)),
    field("transformRequestMethod", Object(&TRANSFORM_REQUEST_METHOD)),
    field("transformResponseBody", Object(&TRANSFORM_BODY)),
    field("transformResponseHeaders", Object(&TRANSFORM_HEADERS)),
    field("urlRewrite", Object(&URL_REWRITE)),
    field("validateRequest", Object(&VALIDATE_REQUEST)),
    field("virtualEndpoint", Object(&VIRTUAL_ENDPOINT)),
]);

pub(super) static SCOPE_CHECK: Type = Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static MIDDLEWARE: Type = Type::new(&[
    field("global", Object(&GLOBAL)).about("For all requests of the API."),
    field("mcpPrompts", Map(&Object(&PRIMITIVE))).about("MCP proxies: for one prompt each."),
    field("mcpResources", Map(&Object(&PRIMITIVE))).about("MCP proxies: for one resource each."),
    field("mcpTools", Map(&Object(&PRIMITIVE))).about("MCP proxies: for one tool each."),
    field("operations", Map(&Object(&OPERATION)))
        .about("For one operation each, by its operationId."),
]);

pub(super) static LISTEN_PATH: Type = Type::new(&[
    field("strip", Flag).about("Whether the upstream sees paths without the listen path."),
    field("value", Filled).about("The path, such as /orders/."),
])
.requires(&["value"]);

pub(super) static HMAC: Type = Type::new(&[
    field("allowedAlgorithms", First(&Text)),
    field("allowedClockSkew", Number),
    field("cookie", Object(&AUTH_SOURCE)),
    field("enabled", Flag),
    field("header", Object(&AUTH_SOURCE)),
    field("query", Object(&AUTH_SOURCE)),
])
.requires(&["enabled"]);

pub(super) static OIDC: Type = Type::new(&[
    field("cookie", Object(&AUTH_SOURCE)),
    field("enabled", Flag),
    field("header", Object(&AUTH_SOURCE)),
    field("providers", First(&Object(&PROVIDER))),
    field("query", Object(&AUTH_SOURCE)),
    field("scopes", Object(&SCOPES)),
    field("segregateByClientId", Flag),
])
.requires(&["enabled"]);

pub(super) static CUSTOM_PLUGIN_AUTHENTICATION: Type = Type::new(&[
    field("config", Object(&AUTHENTICATION_PLUGIN)),
    field("cookie", Object(&AUTH_SOURCE)),
    field("enabled", Flag),
    field("header", Object(&AUTH_SOURCE)),
    field("query", Object(&AUTH_SOURCE)),
])
.requires(&["enabled"]);

pub(super) static CERTIFICATE_AUTH: Type = Type::new(&[field("enabled", Flag)]);

pub(super) static AUTHENTICATION_CUSTOM_KEY_LIFETIME: Type = Type::new(&[
    field("enabled", Flag),
    field("respectValidity", Flag),
    field("value", Duration(Units::Lifetime)),
])
.requires(&["enabled"]);

pub(super) static AUTHENTICATION: Type = Type::new(&[
    field(
        "baseIdentityProvider",
        Known(&[
            "auth_token",
            "hmac_key",
            "basic_auth_user",
            "jwt_claim",
            "oidc_user",
            "oauth_key",
            "custom_auth",
            "",
        ]),
    )
    .about("With several schemes, the one whose session counts."),
    field("certificateAuth", Object(&CERTIFICATE_AUTH)),
    field("custom", Object(&CUSTOM_PLUGIN_AUTHENTICATION))
        .about("A plugin that authenticates requests."),
    field(
        "customKeyLifetime",
        Object(&AUTHENTICATION_CUSTOM_KEY_LIFETIME),
    )
    .about("For how long keys live."),
    field("enabled", Flag)
        .about("Whether requests need credentials; without it the API is open to everybody."),
    field("hmac", Object(&HMAC)).about("Requests that are signed with HMAC."),
    field("oidc", Object(&OIDC)).about("OpenID Connect; a JWT scheme has taken its place."),
    field(
        "protectedResourceMetadata",
        Object(&PROTECTED_RESOURCE_METADATA),
    ),
    field("security", List(&List(&Text))),
    field("securityProcessingMode", Known(&["legacy", "compliant"]))
        .about("legacy or compliant: whether the alternatives of security are followed."),
    field("securitySchemes", Map(&Object(&SECURITY_SCHEME)))
        .about("How credentials are checked, by the scheme's name in components.securitySchemes."),
    field("stripAuthorizationData", Flag)
        .about("Whether credentials are removed before the upstream gets a request."),
])
.requires(&["enabled"]);

pub(super) static PROTECTED_RESOURCE_METADATA: Type = Type::new(&[
    field("authorizationServers", List(&Text)),
    field("enabled", Flag),
    field("resource", Text),
    field("scopesSupported", List(&Text)),
    field("wellKnownPath", Text),
])
.requires(&["enabled"]);

pub(super) static SERVER: Type = Type::new(&[
    field("authentication", Object(&AUTHENTICATION))
        .about("Who may call the API. Without it, or with enabled: false, everybody may."),
    field("batchProcessing", Object(&BATCH_PROCESSING)).about("Several requests in one."),
    field("clientCertificates", Object(&CLIENT_CERTIFICATES))
        .about("Certificates that clients must show."),
    field("contextVariables", Object(&CONTEXT_VARIABLES))
        .about("Read at middleware.global.contextVariables."),
    field("customDomain", Object(&CUSTOM_DOMAIN)).about("The host name that requests must have."),
    field("detailedActivityLogs", Object(&DETAILED_ACTIVITY_LOGS))
        .about("Whether analytics hold whole requests and responses."),
    field("detailedTracing", Object(&DETAILED_TRACING))
        .about("Whether OpenTelemetry sees every middleware."),
    field("eventHandlers", First(&Object(&EVENT_HANDLER))).about("What happens at events."),
    field("gatewayTags", Object(&GATEWAY_TAGS))
        .about("Labels that gateways choose APIs by; a single gateway ignores them."),
    field("ipAccessControl", Object(&IP_ACCESS_CONTROL))
        .about("Addresses and networks that may or may not call the API."),
    field("listenPath", Object(&LISTEN_PATH)).about("The path below which the API listens."),
    field("port", Port).about("A port of its own."),
    field("protocol", OneOf(&["http", "https", "h2c"])).about("http, https or h2c."),
    field("slug", Text).about("Not used since 5.3."),
])
.requires(&["listenPath"]);

pub(super) static GATEWAY_TAGS: Type =
    Type::new(&[field("enabled", Flag), field("tags", First(&Text))])
        .requires(&["enabled", "tags"]);

pub(super) static UPSTREAM: Type = Type::new(&[
    field("authentication", Object(&UPSTREAM_AUTHENTICATION))
        .about("How the gateway authenticates itself to the upstream."),
    field("certificatePinning", Object(&CERTIFICATE_PINNING))
        .about("Public keys that upstreams may have."),
    field("enforceTimeout", Object(&GLOBAL_ENFORCE_TIMEOUT))
        .about("The longest an upstream may take."),
    field("loadBalancing", Object(&LOAD_BALANCING)).about("Several upstreams in turns."),
    field("mutualTLS", Object(&MUTUAL_TLS))
        .about("Certificates that the gateway shows to upstreams."),
    field("preserveHostHeader", Object(&PRESERVE_HOST_HEADER))
        .about("Whether the upstream sees the client's Host header."),
    field("preserveTrailingSlash", Object(&PRESERVE_TRAILING_SLASH)),
    field("proxy", Object(&PROXY)).about("A proxy on the way to the upstream."),
    field("rateLimit", Object(&RATE_LIMIT)).about("A limit for all callers of the API together."),
    field("serviceDiscovery", Object(&SERVICE_DISCOVERY))
        .about("A service that is asked for the upstream's address."),
    field("tlsTransport", Object(&TLS_TRANSPORT)).about("TLS towards the upstream."),
    field("uptimeTests", Object(&UPTIME_TESTS))
        .about("Requests that find out whether upstreams are up."),
    field("url", Text).about("The upstream's address, such as http://orders.internal:8080."),
])
.needs_one_of(&["url", "loadBalancing"]);

pub(super) static STATE: Type = Type::new(&[
    field("active", Flag).about("A gateway serves an API all the same when this is false."),
    field("internal", Flag).about("Whether only other APIs can call this one."),
])
.requires(&["active"]);

pub(super) static VERSIONING: Type = Type::new(&[
    field("default", Text).about("The version of requests that name none; self for this API."),
    field("enabled", Flag).about("Whether the API has versions."),
    field("fallbackToDefault", Flag).about("Whether an unknown version gets the default one."),
    field("key", Filled).about("The header's or parameter's name."),
    field("location", Filled).about("Where a request names its version: header, url-param or url."),
    field("name", Filled).about("This API's own version name."),
    field("stripVersioningData", Flag).about("Whether the upstream does not see the version."),
    field("urlVersioningPattern", Text),
    field("versions", First(&Object(&VERSION_TO_ID))).about("The APIs that are the versions."),
])
.requires(&["location"]);

pub(super) static VERSION_TO_ID: Type =
    Type::new(&[field("id", Filled), field("name", Filled)]).requires(&["id", "name"]);

pub(super) static INFO: Type = Type::new(&[
    field("dbId", Text)
        .about("A database id, 24 hex digits; the open source gateway does not use it."),
    field("expiration", Text).about("When the version ends, as 2006-01-02 15:04."),
    field("id", Text).about("The API's id. It never changes: with another id it is another API."),
    field("name", Filled).about("What people call the API."),
    field("orgId", Text)
        .about("The organisation that the API belongs to; left out, it is the target's."),
    field("state", Object(&STATE)).about("Whether it is active, and whether it is internal."),
    field("versioning", Object(&VERSIONING)).about("The versions of the API."),
])
.requires(&["name", "state"]);

pub(super) static EXTRACT_CREDENTIALS_FROM_BODY: Type = Type::new(&[
    field("enabled", Flag),
    field("passwordRegexp", Pattern),
    field("userRegexp", Pattern),
])
.requires(&["enabled"]);

pub(super) static NOTIFICATIONS: Type =
    Type::new(&[field("onKeyChangeUrl", Text), field("sharedSecret", Text)]);

pub(super) static SIGNATURE: Type = Type::new(&[
    field("algorithm", Text),
    field("allowedClockSkew", Whole),
    field("enabled", Flag),
    field("errorCode", Whole),
    field("errorMessage", Text),
    field("header", Text),
    field("query", Object(&AUTH_SOURCE)),
    field("secret", Text),
]);

pub(super) static O_AUTH2_PRM: Type = Type::new(&[
    field("authorizationServers", List(&Text)),
    field("autoDeriveScopes", Flag),
    field("enabled", Flag),
    field("resource", Text),
    field("wellKnownPath", Text),
])
.requires(&["enabled"]);

pub(super) static O_AUTH2_SCOPE_CHECK: Type = Type::new(&[
    field("claimNames", List(&Text)),
    field("enabled", Flag),
    field("scopeSource", OneOf(&["operation", "global", "union"])),
    field("separator", Text),
])
.requires(&["enabled"]);

pub(super) static O_AUTH2_TOKEN_EXCHANGE: Type = Type::new(&[
    field("enabled", Flag),
    field("providers", List(&Object(&O_AUTH2_PROVIDER))),
])
.requires(&["enabled"]);

pub(super) static O_AUTH2_PROVIDER: Type = Type::new(&[
    field("cache", Object(&O_AUTH2_EXCHANGE_CACHE)),
    field("clientAuth", Object(&O_AUTH2_CLIENT_AUTH)),
    field("customParams", Map(&Text)),
    field("defaultTarget", Object(&O_AUTH2_DEFAULT_TARGET)),
    field("issuers", List(&Text)),
    field("name", Text),
    field("timeout", Text),
    field("tokenEndpoint", Text),
])
.requires(&["name"]);

pub(super) static O_AUTH2_EXCHANGE_CACHE: Type = Type::new(&[
    field("enabled", Flag),
    field("maxTimeout", Text),
    field("mode", OneOf(&["derived", "static"])),
    field("safetyMargin", Text),
    field("timeout", Text),
])
.requires(&["enabled"]);

pub(super) static O_AUTH2_CLIENT_AUTH: Type = Type::new(&[
    field("clientId", Text),
    field("clientSecret", Text),
    field(
        "method",
        OneOf(&["client_secret_basic", "client_secret_post"]),
    ),
]);

pub(super) static O_AUTH2_DEFAULT_TARGET: Type =
    Type::new(&[field("audience", Text), field("scopes", List(&Text))]);

pub(super) static O_AUTH2_EXCHANGE: Type = Type::new(&[
    field("audience", Text),
    field("enabled", Flag),
    field("scopes", List(&Text)),
]);

pub(super) static O_AUTH_PROVIDER: Type = Type::new(&[
    field("introspection", Object(&INTROSPECTION)),
    field("jwt", Object(&JWT_VALIDATION)),
]);

pub(super) static JWT_VALIDATION: Type = Type::new(&[
    field("enabled", Flag),
    field("expiresAtValidationSkew", Count),
    field("identityBaseField", Text),
    field("issuedAtValidationSkew", Count),
    field("notBeforeValidationSkew", Count),
    field("signingMethod", Text),
    field("source", Text),
])
.requires(&["enabled", "signingMethod", "source"]);

pub(super) static INTROSPECTION: Type = Type::new(&[
    field("cache", Object(&INTROSPECTION_CACHE)),
    field("clientId", Text),
    field("clientSecret", Text),
    field("enabled", Flag),
    field("identityBaseField", Text),
    field("url", Text),
]);

pub(super) static INTROSPECTION_CACHE: Type =
    Type::new(&[field("enabled", Flag), field("timeout", Whole)]).requires(&["enabled", "timeout"]);

pub(super) static CUSTOM_DOMAIN: Type = Type::new(&[
    field("certificates", First(&Text))
        .about("Ids of certificates that the gateway shows, or certificate:NAME."),
    field("enabled", Flag).about("Whether it counts."),
    field("name", Text).about("The host name."),
])
.requires(&["enabled", "name"]);

pub(super) static HEADER: Type =
    Type::new(&[field("name", Text), field("value", Text)]).requires(&["name", "value"]);

pub(super) static CIRCUIT_BREAKER: Type = Type::new(&[
    field("coolDownPeriod", Count),
    field("enabled", Flag),
    field("halfOpenStateEnabled", Flag),
    field("sampleSize", Count),
    field("threshold", Fraction),
])
.requires(&[
    "coolDownPeriod",
    "enabled",
    "halfOpenStateEnabled",
    "sampleSize",
    "threshold",
]);

pub(super) static RATE_LIMIT: Type = Type::new(&[
    field("enabled", Flag).about("Whether the limit counts."),
    field("per", Duration(Units::Seconds)).about("The period, such as 60s."),
    field("rate", Number).about("Requests in one period."),
])
.requires(&["enabled", "per", "rate"]);

pub(super) static DETAILED_TRACING: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static CONTEXT_VARIABLES: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static IGNORE_CASE: Type = Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static TRAFFIC_LOGS: Type = Type::new(&[
    field("customRetentionPeriod", Duration(Units::Lifetime)),
    field("enabled", Flag),
    field("plugins", List(&Object(&CUSTOM_ANALYTICS_PLUGIN_CONFIG))),
    field("tagHeaders", List(&Text)),
])
.requires(&["enabled"]);

pub(super) static GLOBAL_REQUEST_SIZE_LIMIT: Type =
    Type::new(&[field("enabled", Flag), field("value", Whole)]).requires(&["enabled", "value"]);

pub(super) static UPSTREAM_AUTHENTICATION: Type = Type::new(&[
    field("basicAuth", Object(&UPSTREAM_BASIC_AUTHENTICATION)),
    field("enabled", Flag),
    field("oauth", Object(&UPSTREAM_O_AUTH)),
    field("requestSigning", Object(&UPSTREAM_REQUEST_SIGNING)),
])
.requires(&["enabled"]);

pub(super) static UPSTREAM_BASIC_AUTHENTICATION: Type = Type::new(&[
    field("enabled", Flag),
    field("header", Object(&UPSTREAM_AUTH_SOURCE)),
    field("password", Filled),
    field("username", Filled),
])
.requires(&["enabled", "password", "username"]);

pub(super) static UPSTREAM_O_AUTH_CLIENT_CREDENTIALS: Type = Type::new(&[
    field("clientId", Filled),
    field("clientSecret", Filled),
    field("extraMetadata", List(&Any)),
    field("header", Object(&UPSTREAM_AUTH_SOURCE)),
    field("scopes", List(&Any)),
    field("tokenUrl", Filled),
])
.requires(&["clientId", "clientSecret", "tokenUrl"]);

pub(super) static UPSTREAM_O_AUTH_PASSWORD: Type = Type::new(&[
    field("clientId", Filled),
    field("clientSecret", Filled),
    field("extraMetadata", List(&Any)),
    field("header", Object(&UPSTREAM_AUTH_SOURCE)),
    field("password", Filled),
    field("scopes", List(&Any)),
    field("tokenUrl", Filled),
    field("username", Filled),
])
.requires(&["clientId", "password", "tokenUrl", "username"]);

pub(super) static UPSTREAM_O_AUTH: Type = Type::new(&[
    field(
        "allowedAuthorizeTypes",
        List(&OneOf(&["clientCredentials", "password"])),
    ),
    field(
        "clientCredentials",
        Object(&UPSTREAM_O_AUTH_CLIENT_CREDENTIALS),
    ),
    field("enabled", Flag),
    field("password", Object(&UPSTREAM_O_AUTH_PASSWORD)),
])
.requires(&["allowedAuthorizeTypes", "enabled"]);

pub(super) static UPSTREAM_REQUEST_SIGNING: Type = Type::new(&[
    field("algorithm", Text),
    field("certificateId", Text),
    field("enabled", Flag),
    field("headers", List(&Text)),
    field("keyId", Text),
    field("secret", Text),
    field("signatureHeader", Text),
])
.requires(&["enabled"]);

pub(super) static UPSTREAM_AUTH_SOURCE: Type =
    Type::new(&[field("enabled", Flag), field("name", Text)]);

pub(super) static IP_ACCESS_CONTROL: Type = Type::new(&[
    field("allow", List(&Address)).about("Addresses or networks that may call the API."),
    field("block", List(&Address)).about("Addresses or networks that may not."),
    field("enabled", Flag),
]);

pub(super) static BATCH_PROCESSING: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static LOAD_BALANCING: Type = Type::new(&[
    field("enabled", Flag),
    field("skipUnavailableHosts", Flag),
    field("targets", First(&Object(&LOAD_BALANCING_TARGET))).about("Upstreams and their weights."),
])
.requires(&["enabled"]);

pub(super) static TLS_TRANSPORT: Type = Type::new(&[
    field("ciphers", List(&Text)),
    field("forceCommonNameCheck", Flag),
    field("insecureSkipVerify", Flag),
    field("maxVersion", OneOf(&["1.0", "1.1", "1.2", "1.3"])),
    field("minVersion", OneOf(&["1.0", "1.1", "1.2", "1.3"])),
]);

pub(super) static PROXY: Type =
    Type::new(&[field("enabled", Flag), field("url", Text)]).requires(&["enabled"]);

pub(super) static PRESERVE_HOST_HEADER: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static PRESERVE_TRAILING_SLASH: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static UPTIME_TEST_COMMAND: Type =
    Type::new(&[field("message", Text), field("name", Text)]);

pub(super) static UPTIME_TEST: Type = Type::new(&[
    field("body", Text),
    field("commands", List(&Object(&UPTIME_TEST_COMMAND))),
    field("enableProxyProtocol", Flag),
    field("headers", Map(&Text)),
    field("method", Text),
    field("timeout", Duration(Units::Nanoseconds)),
    field("url", Text),
]);

pub(super) static UPTIME_TESTS: Type = Type::new(&[
    field("enabled", Flag),
    field("hostDownRetestPeriod", Duration(Units::Nanoseconds)),
    field("logRetentionPeriod", Duration(Units::Nanoseconds)),
    field("serviceDiscovery", Object(&SERVICE_DISCOVERY)),
    field("tests", List(&Object(&UPTIME_TEST))),
])
.requires(&["enabled"]);

pub(super) static LOAD_BALANCING_TARGET: Type = Type::new(&[
    field("url", Text).about("The upstream's address."),
    field("weight", Number).about("Its share; 0 for none."),
])
.requires(&["url", "weight"]);

pub(super) static ERROR_OVERRIDES: Type = Type::new(&[
    field("enabled", Flag),
    field("value", Map(&List(&Object(&ERROR_OVERRIDE)))),
])
.requires(&["enabled"]);

pub(super) static ERROR_OVERRIDE: Type = Type::new(&[
    field("match", Object(&ERROR_MATCHER)),
    field("response", Object(&ERROR_RESPONSE)),
])
.requires(&["response"]);

pub(super) static ERROR_MATCHER: Type = Type::new(&[
    field("bodyField", Text),
    field("bodyValue", Text),
    field("flag", Text),
    field("messagePattern", Pattern),
]);

pub(super) static ERROR_RESPONSE: Type = Type::new(&[
    field("body", Text),
    field("headers", Map(&Text)),
    field("message", Text),
    field("statusCode", Whole),
    field("template", Text),
]);

pub(super) static SECURITY_SCHEME_JWKS_UR_IS: Type = Type::new(&[
    field("cacheTimeout", Duration(Units::Nanoseconds)),
    field("url", Text),
])
.requires(&["url"]);

pub(super) static SECURITY_SCHEME_JTI_VALIDATION: Type =
    Type::new(&[field("enabled", Flag)]).requires(&["enabled"]);

pub(super) static SECURITY_SCHEME_CUSTOM_CLAIM_VALIDATION: Type = Type::new(&[
    field("allowedValues", List(&Any)),
    field("nonBlocking", Flag),
    field("type", OneOf(&["required", "exact_match", "contains"])),
])
.requires(&["type"]);

pub(super) static SECURITY_SCHEME: Type = Type::new(&[
    field("allowedAudiences", List(&Text)),
    field("allowedAuthorizeTypes", List(&OneOf(&["code", "token"]))),
    field("allowedIssuers", List(&Text)),
    field("allowedSubjects", List(&Text)),
    field("authLoginRedirect", Text),
    field("basePolicyClaims", List(&Text)),
    field("cacheTTL", Whole),
    field("clientBaseField", Text),
    field("cookie", Object(&AUTH_SOURCE)).about("The cookie that has the credentials."),
    field(
        "customClaimValidation",
        Object(&SECURITY_SCHEME_CUSTOM_CLAIM_VALIDATION),
    ),
    field("defaultPolicies", First(&Text)).about("JWT: ids of policies for tokens that name none."),
    field("disableCaching", Flag),
    field("enableClientCertificate", Flag),
    field("enabled", Flag).about("Whether the scheme counts."),
    field("expiresAtValidationSkew", Count),
    field(
        "extractCredentialsFromBody",
        Object(&EXTRACT_CREDENTIALS_FROM_BODY),
    ),
    field("header", Object(&AUTH_SOURCE)).about("The header that has the credentials."),
    field("identityBaseField", Text).about("JWT: the claim that tells whose token it is."),
    field("idpClientIdMappingDisabled", Flag),
    field("issuedAtValidationSkew", Count),
    field("jtiValidation", Object(&SECURITY_SCHEME_JTI_VALIDATION)),
    field("jwksURIs", List(&Object(&SECURITY_SCHEME_JWKS_UR_IS)))
        .about("JWT: addresses of key sets."),
    field("notBeforeValidationSkew", Count),
    field("notifications", Object(&NOTIFICATIONS)),
    field("policyFieldName", Text).about("JWT: the claim that names the policy."),
    field("protectedResourceMetadata", Object(&O_AUTH2_PRM)),
    field("providers", First(&Object(&O_AUTH_PROVIDER))),
    field("query", Object(&AUTH_SOURCE)).about("The query parameter that has the credentials."),
    field("refreshToken", Flag),
    field("scopeCheck", Object(&O_AUTH2_SCOPE_CHECK)),
    field("scopes", Object(&SCOPES)).about("JWT: policies by a token's scope."),
    field("signatureValidation", Object(&SIGNATURE)),
    field("signingMethod", Text).about("JWT: hmac, rsa, ecdsa or eddsa."),
    field("skipKid", Flag),
    field("source", Text)
        .about("JWT: the key that checks signatures in base64, or the address of a JWKS."),
    field("subjectClaims", List(&Text)),
    field("tokenExchange", Object(&O_AUTH2_TOKEN_EXCHANGE)),
])
.requires(&["enabled"]);

pub(super) static EVENT_HANDLER: Type = Type::new(&[
    field("bodyTemplate", Text),
    field("cooldownPeriod", Duration(Units::Seconds)),
    field("enabled", Flag),
    field("functionName", Text),
    field("headers", First(&Object(&HEADER))),
    field("id", Text),
    field("logPrefix", Text),
    field("method", OneOf(&["GET", "PUT", "POST", "DELETE", "PATCH"])),
    field("name", Text),
    field("path", Text),
    field("trigger", Known(EVENT_TRIGGERS)),
    field("type", OneOf(&["webhook", "custom", "log"])),
    field("url", Text),
])
.requires(&["enabled", "trigger", "type"]);

static EVENT_TRIGGERS: &[&str] = &[
    "QuotaExceeded",
    "RatelimitExceeded",
    "RateLimitSmoothingUp",
    "RateLimitSmoothingDown",
    "AuthFailure",
    "UpstreamOAuthError",
    "KeyExpired",
    "VersionFailure",
    "OrgQuotaExceeded",
    "OrgRateLimitExceeded",
    "TriggerExceeded",
    "BreakerTriggered",
    "BreakerTripped",
    "BreakerReset",
    "HostDown",
    "HostUp",
    "TokenCreated",
    "TokenUpdated",
    "TokenDeleted",
    "CertificateExpiringSoon",
    "CertificateExpired",
];
