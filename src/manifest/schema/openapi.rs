//! What an OpenAPI 3.0 document may hold. A gateway refuses every other member but `x-…`.

use super::{
    Shape::{Any, Count, Flag, List, Map, Number, Object, OneOf, Text},
    Type,
    extension::EXTENSION,
    field,
};

pub(super) static DOCUMENT: Type = Type::new(&[
    field("components", Object(&COMPONENTS))
        .about("Schemas, security schemes and other parts that are referred to."),
    field("externalDocs", Object(&EXTERNAL_DOCUMENTATION)),
    field("info", Object(&INFO)).about("What the API is."),
    field("openapi", Text).about("The version of OpenAPI, such as 3.0.3."),
    field("paths", Map(&Object(&PATH_ITEM))).about("Its operations, by path."),
    field("security", List(&Map(&List(&Text)))).about("Which security schemes a request needs."),
    field("servers", List(&Object(&SERVER)))
        .about("Addresses; the gateway puts its own before them."),
    field("tags", List(&Object(&TAG))).about("Groups of operations."),
    field("x-tyk-api-gateway", Object(&EXTENSION)).about("What a gateway makes of the document."),
])
.closed();

pub(super) static INFO: Type = Type::new(&[
    field("contact", Object(&CONTACT)),
    field("description", Text).about("What the API is for."),
    field("license", Object(&LICENSE)),
    field("termsOfService", Text),
    field("title", Text).about("The API's title."),
    field("version", Text).about("The API's own version, a text."),
])
.requires(&["title", "version"])
.closed();

pub(super) static CONTACT: Type = Type::new(&[
    field("email", Text),
    field("name", Text),
    field("url", Text),
])
.closed();

pub(super) static LICENSE: Type = Type::new(&[field("name", Text), field("url", Text)])
    .requires(&["name"])
    .closed();

pub(super) static SERVER: Type = Type::new(&[
    field("description", Text),
    field("url", Text),
    field("variables", Map(&Object(&SERVER_VARIABLE))),
])
.requires(&["url"])
.closed();

pub(super) static SERVER_VARIABLE: Type = Type::new(&[
    field("default", Text),
    field("description", Text),
    field("enum", List(&Text)),
])
.requires(&["default"])
.closed();

pub(super) static COMPONENTS: Type = Type::new(&[
    field("callbacks", Map(&Map(&Any))),
    field("examples", Map(&Object(&EXAMPLE))),
    field("headers", Map(&Object(&HEADER))),
    field("links", Map(&Object(&LINK))),
    field("parameters", Map(&Object(&PARAMETER))),
    field("requestBodies", Map(&Object(&REQUEST_BODY))),
    field("responses", Map(&Object(&RESPONSE))),
    field("schemas", Map(&Object(&SCHEMA))),
    field("securitySchemes", Map(&Object(&SECURITY_SCHEME))),
])
.closed();

pub(super) static SCHEMA: Type = Type::new(&[
    field("additionalProperties", Any),
    field("allOf", List(&Object(&SCHEMA))),
    field("anyOf", List(&Object(&SCHEMA))),
    field("default", Any),
    field("deprecated", Flag),
    field("description", Text),
    field("discriminator", Object(&DISCRIMINATOR)),
    field("enum", List(&Any)),
    field("example", Any),
    field("exclusiveMaximum", Flag),
    field("exclusiveMinimum", Flag),
    field("externalDocs", Object(&EXTERNAL_DOCUMENTATION)),
    field("format", Text),
    field("items", Object(&SCHEMA)),
    field("maxItems", Count),
    field("maxLength", Count),
    field("maxProperties", Count),
    field("maximum", Number),
    field("minItems", Count),
    field("minLength", Count),
    field("minProperties", Count),
    field("minimum", Number),
    field("multipleOf", Number),
    field("not", Object(&SCHEMA)),
    field("nullable", Flag),
    field("oneOf", List(&Object(&SCHEMA))),
    field("pattern", Text),
    field("properties", Map(&Object(&SCHEMA))),
    field("readOnly", Flag),
    field("required", List(&Text)),
    field("title", Text),
    field(
        "type",
        OneOf(&["array", "boolean", "integer", "number", "object", "string"]),
    ),
    field("uniqueItems", Flag),
    field("writeOnly", Flag),
    field("xml", Object(&XML)),
])
.closed()
.or_reference();

pub(super) static DISCRIMINATOR: Type =
    Type::new(&[field("mapping", Map(&Text)), field("propertyName", Text)])
        .requires(&["propertyName"]);

pub(super) static XML: Type = Type::new(&[
    field("attribute", Flag),
    field("name", Text),
    field("namespace", Text),
    field("prefix", Text),
    field("wrapped", Flag),
])
.closed();

pub(super) static RESPONSE: Type = Type::new(&[
    field("content", Map(&Object(&MEDIA_TYPE))),
    field("description", Text),
    field("headers", Map(&Object(&HEADER))),
    field("links", Map(&Object(&LINK))),
])
.requires(&["description"])
.closed()
.or_reference();

pub(super) static MEDIA_TYPE: Type = Type::new(&[
    field("encoding", Map(&Object(&ENCODING))),
    field("example", Any),
    field("examples", Map(&Object(&EXAMPLE))),
    field("schema", Object(&SCHEMA)),
])
.closed();

pub(super) static EXAMPLE: Type = Type::new(&[
    field("description", Text),
    field("externalValue", Text),
    field("summary", Text),
    field("value", Any),
])
.closed()
.or_reference();

pub(super) static HEADER: Type = Type::new(&[
    field("allowEmptyValue", Flag),
    field("allowReserved", Flag),
    field("content", Map(&Object(&MEDIA_TYPE))),
    field("deprecated", Flag),
    field("description", Text),
    field("example", Any),
    field("examples", Map(&Object(&EXAMPLE))),
    field("explode", Flag),
    field("required", Flag),
    field("schema", Object(&SCHEMA)),
    field("style", OneOf(&["simple"])),
])
.closed()
.or_reference();

pub(super) static PATH_ITEM: Type = Type::new(&[
    field("$ref", Text),
    field("delete", Object(&OPERATION)),
    field("description", Text),
    field("get", Object(&OPERATION)),
    field("head", Object(&OPERATION)),
    field("options", Object(&OPERATION)),
    field("parameters", List(&Object(&PARAMETER))),
    field("patch", Object(&OPERATION)),
    field("post", Object(&OPERATION)),
    field("put", Object(&OPERATION)),
    field("servers", List(&Object(&SERVER))),
    field("summary", Text),
    field("trace", Object(&OPERATION)),
])
.closed()
.or_reference();

pub(super) static OPERATION: Type = Type::new(&[
    field("callbacks", Map(&Map(&Any))),
    field("deprecated", Flag),
    field("description", Text),
    field("externalDocs", Object(&EXTERNAL_DOCUMENTATION)),
    field("operationId", Text),
    field("parameters", List(&Object(&PARAMETER))),
    field("requestBody", Object(&REQUEST_BODY)),
    field("responses", Map(&Object(&RESPONSE))),
    field("security", List(&Map(&List(&Text)))),
    field("servers", List(&Object(&SERVER))),
    field("summary", Text),
    field("tags", List(&Text)),
])
.requires(&["responses"])
.closed();

pub(super) static TAG: Type = Type::new(&[
    field("description", Text),
    field("externalDocs", Object(&EXTERNAL_DOCUMENTATION)),
    field("name", Text),
])
.requires(&["name"])
.closed();

pub(super) static EXTERNAL_DOCUMENTATION: Type =
    Type::new(&[field("description", Text), field("url", Text)])
        .requires(&["url"])
        .closed();

pub(super) static PARAMETER: Type = Type::new(&[
    field("allowEmptyValue", Flag),
    field("allowReserved", Flag),
    field("content", Map(&Object(&MEDIA_TYPE))),
    field("deprecated", Flag),
    field("description", Text),
    field("example", Any),
    field("examples", Map(&Object(&EXAMPLE))),
    field("explode", Flag),
    field("in", OneOf(&["path", "query", "header", "cookie"])),
    field("name", Text),
    field("required", Flag),
    field("schema", Object(&SCHEMA)),
    field("style", Text),
])
.requires(&["in", "name"])
.closed()
.or_reference();

pub(super) static REQUEST_BODY: Type = Type::new(&[
    field("content", Map(&Object(&MEDIA_TYPE))),
    field("description", Text),
    field("required", Flag),
])
.requires(&["content"])
.closed()
.or_reference();

pub(super) static O_AUTH_FLOWS: Type = Type::new(&[
    field("authorizationCode", Object(&AUTHORIZATION_CODE_O_AUTH_FLOW)),
    field("clientCredentials", Object(&CLIENT_CREDENTIALS_FLOW)),
    field("implicit", Object(&IMPLICIT_O_AUTH_FLOW)),
    field("password", Object(&PASSWORD_O_AUTH_FLOW)),
])
.closed();

pub(super) static IMPLICIT_O_AUTH_FLOW: Type = Type::new(&[
    field("authorizationUrl", Text),
    field("refreshUrl", Text),
    field("scopes", Map(&Text)),
])
.requires(&["authorizationUrl", "scopes"])
.closed();

pub(super) static PASSWORD_O_AUTH_FLOW: Type = Type::new(&[
    field("refreshUrl", Text),
    field("scopes", Map(&Text)),
    field("tokenUrl", Text),
])
.requires(&["scopes", "tokenUrl"])
.closed();

pub(super) static CLIENT_CREDENTIALS_FLOW: Type = Type::new(&[
    field("refreshUrl", Text),
    field("scopes", Map(&Text)),
    field("tokenUrl", Text),
])
.requires(&["scopes", "tokenUrl"])
.closed();

pub(super) static AUTHORIZATION_CODE_O_AUTH_FLOW: Type = Type::new(&[
    field("authorizationUrl", Text),
    field("refreshUrl", Text),
    field("scopes", Map(&Text)),
    field("tokenUrl", Text),
])
.requires(&["authorizationUrl", "scopes", "tokenUrl"])
.closed();

pub(super) static LINK: Type = Type::new(&[
    field("description", Text),
    field("operationId", Text),
    field("operationRef", Text),
    field("parameters", Map(&Any)),
    field("requestBody", Any),
    field("server", Object(&SERVER)),
])
.closed()
.or_reference();

pub(super) static ENCODING: Type = Type::new(&[
    field("allowReserved", Flag),
    field("contentType", Text),
    field("explode", Flag),
    field("headers", Map(&Object(&HEADER))),
    field(
        "style",
        OneOf(&["form", "spaceDelimited", "pipeDelimited", "deepObject"]),
    ),
])
.closed();

pub(super) static SECURITY_SCHEME: Type = Type::new(&[
    field("bearerFormat", Text),
    field("description", Text),
    field("flows", Object(&O_AUTH_FLOWS)),
    field("in", OneOf(&["header", "query", "cookie"])),
    field("name", Text),
    field("openIdConnectUrl", Text),
    field("scheme", Text),
    field(
        "type",
        OneOf(&["apiKey", "http", "oauth2", "openIdConnect"]),
    ),
])
.requires(&["type"])
.closed()
.or_reference();
