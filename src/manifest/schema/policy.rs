//! What a policy may hold, as Tyk 5.14 decodes it.

use super::{
    Shape::{Any, Flag, List, Map, Number, Object, Pattern, Text, Whole},
    Type, field,
};

pub(super) static POLICY: Type = Type::new(&[
    field("_id", Text)
        .about("A database id, 24 hex digits; the open source gateway does not use it."),
    field("access_rights", Map(&Object(&ACCESS_DEFINITION)))
        .about("What keys may do, by the API's id."),
    field("active", Flag).about("Whether the policy counts."),
    field("enable_http_signature_validation", Flag),
    field("graphql_access_rights", Map(&Map(&Any))),
    field("hmac_enabled", Flag).about("Whether requests are signed with HMAC."),
    field("id", Text).about("The policy's id; keys and tokens name it."),
    field("is_inactive", Flag).about("Whether keys with this policy are refused."),
    field("key_expires_in", Whole).about("Seconds after which new keys expire; 0 for never."),
    field("last_updated", Text).about("Not read by the gateway."),
    field("max_query_depth", Whole).about("The deepest GraphQL query; -1 for any."),
    field("meta_data", Map(&Any)).about("Data for plugins and templates, copied into every key."),
    field("name", Text).about("What people call the policy."),
    field("org_id", Text)
        .about("The organisation that the policy belongs to; left out, it is the target's."),
    field("partitions", Object(&POLICY_PARTITIONS))
        .about("Which parts of the policy count; all when none is on."),
    field("per", Number).about("The period in seconds."),
    field("post_expiry_action", Text),
    field("post_expiry_grace_period", Whole),
    field("quota_max", Whole).about("Requests until the quota renews; -1 for no quota."),
    field("quota_renewal_rate", Whole).about("Seconds after which the quota renews."),
    field("rate", Number).about("Requests in one period."),
    field("smoothing", Object(&RATE_LIMIT_SMOOTHING)),
    field("tags", List(&Text)).about("Labels in the analytics of its keys."),
    field("throttle_interval", Number)
        .about("Seconds between tries of a throttled request; -1 for none."),
    field("throttle_retry_limit", Whole)
        .about("How often a throttled request is tried; -1 for never."),
]);

pub(super) static POLICY_PARTITIONS: Type = Type::new(&[
    field("acl", Flag).about("Whether the access rights count."),
    field("complexity", Flag).about("Whether the query depth counts."),
    field("per_api", Flag)
        .about("Whether each API has its own limits; no other partition may be on with it."),
    field("quota", Flag).about("Whether the quota counts."),
    field("rate_limit", Flag).about("Whether the rate limit counts."),
]);

pub(super) static ACCESS_DEFINITION: Type = Type::new(&[
    field("allowance_scope", Text).about("Whose limits these are."),
    field("allowed_types", List(&Any)),
    field("allowed_urls", List(&Object(&ACCESS_SPEC)))
        .about("Paths and methods that may be called; all when empty."),
    field("api_id", Text).about("The API's id, the same as the member's name."),
    field("api_name", Text).about("The API's name."),
    field("disable_introspection", Flag).about("Whether GraphQL introspection is refused."),
    field("endpoints", List(&Object(&ENDPOINT))),
    field(
        "field_access_rights",
        List(&Object(&FIELD_ACCESS_DEFINITION)),
    ),
    field("json_rpc_methods", List(&Object(&JSONRPC_METHOD_LIMIT))),
    field(
        "json_rpc_methods_access_rights",
        Object(&ACCESS_CONTROL_RULES),
    ),
    field("limit", Object(&API_LIMIT))
        .about("Limits for this API alone, with the partition per_api."),
    field("mcp_access_rights", Object(&MCP_ACCESS_RIGHTS)),
    field("mcp_primitives", List(&Object(&MCP_PRIMITIVE_LIMIT))),
    field("restricted_types", List(&Any)),
    field("versions", List(&Text)).about("Versions of the API that may be called."),
]);

pub(super) static ACCESS_SPEC: Type = Type::new(&[
    field("methods", List(&Text)).about("HTTP methods."),
    field("url", Pattern).about("A regular expression over the path."),
]);

pub(super) static API_LIMIT: Type = Type::new(&[
    field("max_query_depth", Whole),
    field("per", Number),
    field("quota_max", Whole),
    field("quota_remaining", Whole),
    field("quota_renewal_rate", Whole),
    field("quota_renews", Whole),
    field("rate", Number),
    field("smoothing", Object(&RATE_LIMIT_SMOOTHING)),
    field("throttle_interval", Number),
    field("throttle_retry_limit", Whole),
]);

pub(super) static ACCESS_CONTROL_RULES: Type =
    Type::new(&[field("allowed", List(&Text)), field("blocked", List(&Text))]);

pub(super) static ENDPOINT: Type = Type::new(&[
    field("methods", List(&Object(&ENDPOINT_METHOD))),
    field("path", Text),
]);

pub(super) static ENDPOINT_METHOD: Type =
    Type::new(&[field("limit", Object(&RATE_LIMIT)), field("name", Text)]);

pub(super) static FIELD_ACCESS_DEFINITION: Type = Type::new(&[
    field("field_name", Text),
    field("limits", Object(&FIELD_LIMITS)),
    field("type_name", Text),
]);

pub(super) static FIELD_LIMITS: Type = Type::new(&[field("max_query_depth", Whole)]);

pub(super) static JSONRPC_METHOD_LIMIT: Type =
    Type::new(&[field("limit", Object(&RATE_LIMIT)), field("name", Text)]);

pub(super) static MCP_ACCESS_RIGHTS: Type = Type::new(&[
    field("prompts", Object(&ACCESS_CONTROL_RULES)),
    field("resources", Object(&ACCESS_CONTROL_RULES)),
    field("tools", Object(&ACCESS_CONTROL_RULES)),
]);

pub(super) static MCP_PRIMITIVE_LIMIT: Type = Type::new(&[
    field("limit", Object(&RATE_LIMIT)),
    field("name", Text),
    field("type", Text),
]);

pub(super) static RATE_LIMIT: Type = Type::new(&[
    field("per", Number),
    field("rate", Number),
    field("smoothing", Object(&RATE_LIMIT_SMOOTHING)),
]);

pub(super) static RATE_LIMIT_SMOOTHING: Type = Type::new(&[
    field("delay", Whole),
    field("enabled", Flag),
    field("step", Whole),
    field("threshold", Whole),
    field("trigger", Number),
]);
