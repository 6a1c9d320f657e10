//! Schema definitions of federated subgraphs → the one that a supergraph serves: as the operator
//! merges them, down to the way in which the result is printed.
//!
//! Not checked here: whether every type that a field names is defined somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use apollo_parser::{
    Parser, SyntaxNode,
    cst::{self, CstNode},
};

/// Deeper nesting of types and values than any schema has.
const DEEPEST: usize = 64;

/// Root types that every subgraph may add to.
const ROOTS: [&str; 3] = ["Query", "Mutation", "Subscription"];

/// Checks that a text is a schema definition.
pub(super) fn check(sdl: &str) -> Result<(), String> {
    parse(sdl).map(drop)
}

/// The schema of several subgraphs together.
pub(super) fn merge(sdls: &[&str]) -> Result<String, String> {
    let mut definitions: Vec<Definition> =
        ROOTS.iter().map(|root| Definition::root(root)).collect();
    for sdl in sdls {
        let mut own = extend(parse(sdl)?, Orphans::Keep, &BTreeSet::new())?;
        for definition in &mut own {
            definition.extend_if_meant();
        }
        definitions.extend(own);
    }
    let entities = entities(&definitions)?;
    let mut definitions = extend(definitions, Orphans::Refuse, &entities)?;
    definitions
        .retain(|definition| definition.sort != Sort::Type || !definition.members.is_empty());
    for definition in &mut definitions {
        if definition.sort == Sort::Type {
            definition.members.retain(|field| !field.has("external"));
        }
    }
    let mut definitions = shared(definitions)?;
    for definition in &mut definitions {
        definition.settle()?;
    }
    let printed: Vec<String> = definitions.iter().map(Definition::print).collect();
    Ok(printed.join(" "))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Type,
    Interface,
    Input,
    Union,
    Enum,
    Scalar,
    Directive,
}

#[derive(Debug, Clone)]
struct Definition {
    sort: Sort,
    extends: bool,
    description: String,
    name: String,
    implements: Vec<String>,
    directives: Vec<Directive>,
    members: Vec<Member>,
    /// Of a directive: what comes after its name.
    rest: String,
}

#[derive(Debug, Clone)]
struct Directive {
    name: String,
    text: String,
}

/// A field, a value of an enum, or a type of a union.
#[derive(Debug, Clone)]
struct Member {
    name: String,
    kind: String,
    /// Up to its directives.
    text: String,
    directives: Vec<Directive>,
}

impl Definition {
    fn root(name: &str) -> Self {
        Self {
            sort: Sort::Type,
            extends: false,
            description: String::new(),
            name: name.to_owned(),
            implements: Vec::new(),
            directives: Vec::new(),
            members: Vec::new(),
            rest: String::new(),
        }
    }

    fn has(&self, directive: &str) -> bool {
        self.directives.iter().any(|own| own.name == directive)
    }

    /// A root type, and one marked so, add to a type of another subgraph.
    fn extend_if_meant(&mut self) {
        let is_type = matches!(self.sort, Sort::Type | Sort::Interface);
        if is_type && self.has("extends") {
            self.extends = true;
            self.directives.retain(|own| own.name != "extends");
        }
        let says_something = !self.members.is_empty() || !self.directives.is_empty();
        let is_root = self.sort == Sort::Type && ROOTS.contains(&self.name.as_str());
        self.extends |= is_root && says_something;
    }

    fn take(&mut self, extension: Self) {
        let Self {
            sort: _,
            extends: _,
            description: _,
            name: _,
            implements,
            directives,
            members,
            rest: _,
        } = extension;
        for interface in implements {
            if !self.implements.contains(&interface) {
                self.implements.push(interface);
            }
        }
        self.directives.extend(directives);
        self.members.extend(members);
    }

    /// Two fields of one name are one if they agree; what only the merging needed goes.
    fn settle(&mut self) -> Result<(), String> {
        if !matches!(self.sort, Sort::Type | Sort::Interface) {
            return Ok(());
        }
        self.directives.retain(|own| own.name != "key");
        if self.sort == Sort::Type {
            let mut kinds: BTreeMap<String, String> = BTreeMap::new();
            let mut kept = Vec::new();
            for field in std::mem::take(&mut self.members) {
                match kinds.get(&field.name) {
                    None => {
                        kinds.insert(field.name.clone(), field.kind.clone());
                        kept.push(field);
                    }
                    Some(kind) if *kind == field.kind => {}
                    Some(kind) => {
                        return Err(format!(
                            "the field {} of {} is {kind} in one subgraph and {} in another",
                            field.name, self.name, field.kind
                        ));
                    }
                }
            }
            self.members = kept;
        }
        for field in &mut self.members {
            field
                .directives
                .retain(|own| !matches!(own.name.as_str(), "provides" | "requires"));
        }
        Ok(())
    }

    fn print(&self) -> String {
        let Self {
            sort,
            extends: _,
            description,
            name,
            implements,
            directives,
            members,
            rest,
        } = self;
        let keyword = match sort {
            Sort::Type => "type ",
            Sort::Interface => "interface ",
            Sort::Input => "input ",
            Sort::Union => "union ",
            Sort::Enum => "enum ",
            Sort::Scalar => "scalar ",
            Sort::Directive => "directive @",
        };
        let mut text = format!("{description}{keyword}{name}{rest}");
        if !implements.is_empty() {
            text.push_str(" implements ");
            text.push_str(&implements.join(" & "));
        }
        push_directives(&mut text, directives);
        let printed: Vec<String> = members.iter().map(Member::print).collect();
        match sort {
            Sort::Union if !printed.is_empty() => {
                text.push_str(" = ");
                text.push_str(&printed.join(" | "));
            }
            Sort::Type | Sort::Interface | Sort::Input | Sort::Enum => {
                let _ = write!(text, " {{{}}}", printed.join(" "));
            }
            Sort::Union | Sort::Scalar | Sort::Directive => {}
        }
        text
    }
}

impl Member {
    fn has(&self, directive: &str) -> bool {
        self.directives.iter().any(|own| own.name == directive)
    }

    fn print(&self) -> String {
        let mut text = self.text.clone();
        push_directives(&mut text, &self.directives);
        text
    }
}

fn push_directives(text: &mut String, directives: &[Directive]) {
    for directive in directives {
        text.push(' ');
        text.push_str(&directive.text);
    }
}

/// What becomes of an extension of a type that is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orphans {
    Keep,
    Refuse,
}

/// Adds every extension to the type that it extends.
fn extend(
    definitions: Vec<Definition>,
    orphans: Orphans,
    entities: &BTreeSet<String>,
) -> Result<Vec<Definition>, String> {
    let (extensions, mut kept): (Vec<_>, Vec<_>) = definitions
        .into_iter()
        .partition(|definition| definition.extends);
    let mut places: BTreeMap<(Sort, String), Vec<usize>> = BTreeMap::new();
    for (index, definition) in kept.iter().enumerate() {
        let slot = (definition.sort, definition.name.clone());
        places.entry(slot).or_default().push(index);
    }
    for extension in extensions {
        let name = extension.name.clone();
        let found = places.get(&(extension.sort, name.clone()));
        let is_root = ROOTS.contains(&name.as_str());
        match found.map_or(&[][..], Vec::as_slice) {
            [] if orphans == Orphans::Keep => kept.push(extension),
            [] => return Err(format!("{name} is extended, and no subgraph defines it")),
            [index, rest @ ..] if rest.is_empty() || is_root || orphans == Orphans::Keep => {
                let takes_key = matches!(extension.sort, Sort::Type | Sort::Interface);
                if orphans == Orphans::Refuse && takes_key && !is_root {
                    let is_entity = entities.contains(&name);
                    match (is_entity, extension.has("key")) {
                        (true, false) => {
                            return Err(format!(
                                "{name} is an entity, and its extension has no @key"
                            ));
                        }
                        (false, true) => {
                            return Err(format!(
                                "{name} is extended with a @key, and is no entity"
                            ));
                        }
                        _ => {}
                    }
                }
                if let Some(definition) = kept.get_mut(*index) {
                    definition.take(extension);
                }
            }
            _ => {
                return Err(format!(
                    "{name} is defined in several subgraphs, and what is shared must not be extended"
                ));
            }
        }
    }
    Ok(kept)
}

/// Types with a key; each belongs to one subgraph.
fn entities(definitions: &[Definition]) -> Result<BTreeSet<String>, String> {
    let mut entities = BTreeSet::new();
    let types = definitions
        .iter()
        .filter(|definition| matches!(definition.sort, Sort::Type | Sort::Interface));
    for definition in types.filter(|definition| !definition.extends) {
        if entities.contains(&definition.name) {
            return Err(format!(
                "{} is an entity, and is defined in several subgraphs",
                definition.name
            ));
        }
        if definition.has("key") {
            entities.insert(definition.name.clone());
        }
    }
    Ok(entities)
}

/// A type that several subgraphs define is kept once, if all of them say the same.
fn shared(definitions: Vec<Definition>) -> Result<Vec<Definition>, String> {
    let mut first: BTreeMap<(Sort, String), usize> = BTreeMap::new();
    let mut kept: Vec<Definition> = Vec::new();
    for definition in definitions {
        let slot = (definition.sort, definition.name.clone());
        let Some(other) = first.get(&slot).and_then(|index| kept.get(*index)) else {
            first.insert(slot, kept.len());
            kept.push(definition);
            continue;
        };
        let parts = |definition: &Definition| -> BTreeSet<(String, String)> {
            let members = definition.members.iter();
            members
                .map(|member| (member.name.clone(), member.kind.clone()))
                .collect()
        };
        let is_same =
            other.members.len() == definition.members.len() && parts(other) == parts(&definition);
        if !is_same {
            return Err(format!(
                "{} is shared by subgraphs that do not define it alike",
                definition.name
            ));
        }
    }
    Ok(kept)
}

fn parse(sdl: &str) -> Result<Vec<Definition>, String> {
    let tree = Parser::new(sdl).recursion_limit(DEEPEST).parse();
    if let Some(error) = tree.errors().next() {
        let before = sdl.get(..error.index()).unwrap_or(sdl);
        let line = before.matches('\n').count() + 1;
        return Err(format!("line {line} of it is no schema definition"));
    }
    let mut definitions = Vec::new();
    for definition in tree.document().definitions() {
        definitions.extend(read(&definition)?);
    }
    Ok(definitions)
}

fn read(definition: &cst::Definition) -> Result<Option<Definition>, String> {
    use cst::Definition as D;
    let (sort, extends) = match definition {
        D::ObjectTypeDefinition(_) => (Sort::Type, false),
        D::ObjectTypeExtension(_) => (Sort::Type, true),
        D::InterfaceTypeDefinition(_) => (Sort::Interface, false),
        D::InterfaceTypeExtension(_) => (Sort::Interface, true),
        D::InputObjectTypeDefinition(_) => (Sort::Input, false),
        D::InputObjectTypeExtension(_) => (Sort::Input, true),
        D::UnionTypeDefinition(_) => (Sort::Union, false),
        D::UnionTypeExtension(_) => (Sort::Union, true),
        D::EnumTypeDefinition(_) => (Sort::Enum, false),
        D::EnumTypeExtension(_) => (Sort::Enum, true),
        D::ScalarTypeDefinition(_) => (Sort::Scalar, false),
        D::ScalarTypeExtension(_) => (Sort::Scalar, true),
        D::DirectiveDefinition(_) => (Sort::Directive, false),
        D::SchemaDefinition(schema) => {
            let named = schema.root_operation_type_definitions();
            let names = named.filter_map(|root| Some(squeezed(root.named_type()?.syntax())));
            let mut names = names.filter(|name| !ROOTS.contains(&name.as_str()));
            return match names.next() {
                // The merged schema has these roots without being told.
                None => Ok(None),
                Some(name) => Err(format!(
                    "its root type {name} must be called Query, Mutation or Subscription"
                )),
            };
        }
        D::SchemaExtension(_) | D::OperationDefinition(_) | D::FragmentDefinition(_) => {
            return Err("holds what is no definition of a type".to_owned());
        }
    };
    let node = definition.syntax();
    let name = definition.name().map(|name| squeezed(name.syntax()));
    let interfaces = child::<cst::ImplementsInterfaces>(node);
    let mut rest = String::new();
    if let D::DirectiveDefinition(directive) = definition {
        rest.push_str(&arguments_of(node));
        if directive.repeatable_token().is_some() {
            rest.push_str(" repeatable");
        }
        let locations = child::<cst::DirectiveLocations>(node);
        let locations = locations.into_iter().flat_map(|locations| {
            let each = locations.directive_locations();
            each.map(|location| squeezed(location.syntax()))
                .collect::<Vec<_>>()
        });
        let locations: Vec<String> = locations.collect();
        let _ = write!(rest, " on {}", locations.join(" | "));
    }
    Ok(Some(Definition {
        sort,
        extends,
        description: description_of(node),
        name: name.unwrap_or_default(),
        implements: interfaces
            .into_iter()
            .flat_map(|interfaces| interfaces.named_types().collect::<Vec<_>>())
            .map(|named| squeezed(named.syntax()))
            .collect(),
        directives: directives_of(node),
        members: members(node),
        rest,
    }))
}

fn members(node: &SyntaxNode) -> Vec<Member> {
    let mut members = Vec::new();
    if let Some(fields) = child::<cst::FieldsDefinition>(node) {
        members.extend(fields.field_definitions().map(|field| {
            let node = field.syntax();
            let name = field.name().map(|name| squeezed(name.syntax()));
            let kind = field.ty().map(|kind| squeezed(kind.syntax()));
            let (name, kind) = (name.unwrap_or_default(), kind.unwrap_or_default());
            let (description, arguments) = (description_of(node), arguments_of(node));
            Member {
                text: format!("{description}{name}{arguments}: {kind}"),
                name,
                kind,
                directives: directives_of(node),
            }
        }));
    }
    if let Some(fields) = child::<cst::InputFieldsDefinition>(node) {
        members.extend(fields.input_value_definitions().map(|value| input(&value)));
    }
    if let Some(values) = child::<cst::EnumValuesDefinition>(node) {
        members.extend(values.enum_value_definitions().map(|value| {
            let node = value.syntax();
            let name = value.enum_value().map(|value| squeezed(value.syntax()));
            let name = name.unwrap_or_default();
            Member {
                text: format!("{}{name}", description_of(node)),
                name,
                kind: String::new(),
                directives: directives_of(node),
            }
        }));
    }
    if let Some(types) = child::<cst::UnionMemberTypes>(node) {
        members.extend(types.named_types().map(|named| {
            let name = squeezed(named.syntax());
            Member {
                text: name.clone(),
                name,
                kind: String::new(),
                directives: Vec::new(),
            }
        }));
    }
    members
}

fn input(value: &cst::InputValueDefinition) -> Member {
    let node = value.syntax();
    let name = value.name().map(|name| squeezed(name.syntax()));
    let kind = value.ty().map(|kind| squeezed(kind.syntax()));
    let (name, kind) = (name.unwrap_or_default(), kind.unwrap_or_default());
    let mut text = format!("{}{name}: {kind}", description_of(node));
    if let Some(value) = value.default_value().and_then(|default| default.value()) {
        let _ = write!(text, " = {}", print_value(&value));
    }
    Member {
        name,
        kind,
        text,
        directives: directives_of(node),
    }
}

fn arguments_of(node: &SyntaxNode) -> String {
    let Some(arguments) = child::<cst::ArgumentsDefinition>(node) else {
        return String::new();
    };
    let each = arguments.input_value_definitions();
    let each: Vec<String> = each.map(|value| input(&value).print()).collect();
    format!("({})", each.join(", "))
}

fn directives_of(node: &SyntaxNode) -> Vec<Directive> {
    let directives = child::<cst::Directives>(node);
    let directives = directives.iter().flat_map(cst::Directives::directives);
    let read = directives.map(|directive| {
        let name = directive.name().map(|name| squeezed(name.syntax()));
        let name = name.unwrap_or_default();
        let mut text = format!("@{name}");
        if let Some(arguments) = directive.arguments() {
            let each = arguments.arguments().filter_map(|argument| {
                let name = squeezed(argument.name()?.syntax());
                Some(format!("{name}: {}", print_value(&argument.value()?)))
            });
            let each: Vec<String> = each.collect();
            let _ = write!(text, "({})", each.join(", "));
        }
        Directive { name, text }
    });
    read.collect()
}

/// Bounded by the parser's limit.
fn print_value(value: &cst::Value) -> String {
    match value {
        cst::Value::ListValue(list) => {
            let each: Vec<String> = list.values().map(|value| print_value(&value)).collect();
            format!("[{}]", each.join(","))
        }
        cst::Value::ObjectValue(object) => {
            let each = object.object_fields().filter_map(|field| {
                let name = squeezed(field.name()?.syntax());
                Some(format!("{name}: {}", print_value(&field.value()?)))
            });
            let each: Vec<String> = each.collect();
            format!("{{{}}}", each.join(","))
        }
        other => other.syntax().text().to_string().trim().to_owned(),
    }
}

fn description_of(node: &SyntaxNode) -> String {
    let description = child::<cst::Description>(node);
    let Some(value) = description.and_then(|description| description.string_value()) else {
        return String::new();
    };
    let written = value.syntax().text().to_string();
    let written = written.trim();
    if written.starts_with("\"\"\"") {
        format!("\"\"\"\n{}\n\"\"\"\n", String::from(value))
    } else {
        format!("{written}\n")
    }
}

/// A node of names and marks, without what stands between them.
fn squeezed(node: &SyntaxNode) -> String {
    let tokens = node
        .descendants_with_tokens()
        .filter_map(apollo_parser::SyntaxElement::into_token);
    tokens
        .map(|token| token.text().to_owned())
        .filter(|text| {
            let first = text.chars().next();
            first.is_some_and(|first| {
                !first.is_whitespace() && !matches!(first, ',' | '#' | '\u{feff}')
            })
        })
        .collect()
}

fn child<N: CstNode>(node: &SyntaxNode) -> Option<N> {
    node.children().find_map(N::cast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subgraphs_are_merged_and_printed_as_the_operator_does() {
        // What its merging printed for the same two.
        let users = r#"
            """A user"""
            interface Node { id: ID! }
            type User implements Node & Named @key(fields: "id") @other(a: [1, "x", {b: C}], d: null) {
              "the id"
              id: ID!
              name(first: Int = 5, "last" last: [String!]! = ["a"] @deprecated(reason: "x y"), f: Filter = {a: 1, b: E}): String @deprecated(reason: "no")
              old: Int @provides(fields: "x") @tag(name: "a")
            }
            interface Named { name: String }
            enum Color @x { "red" RED GREEN @deprecated }
            input Filter @y { a: Int = 3 @z b: E = E, c: [Int!] }
            scalar Date @specifiedBy(url: "http://x")
            union Any = User | Post
            type Post { id: ID! }
            directive @other(a: Int) repeatable on OBJECT | FIELD_DEFINITION
            type Query { me(id: ID = "1"): User @provides(fields: "id") }
            extend type Query { you: User }
            type Mutation { set(v: Boolean = true, w: Float = 1.50): Boolean }
        "#;
        let posts = r#"
            extend type User implements Node @key(fields: "id") { id: ID! @external posts: [Post!]! }
            type Post { id: ID! }
            scalar Date
            enum Color { RED GREEN }
            extend type Query { posts: [Post] }
        "#;
        let expected = concat!(
            r#"type Query {me(id: ID = "1"): User you: User posts: [Post]} "#,
            "type Mutation {set(v: Boolean = true, w: Float = 1.50): Boolean} ",
            "\"\"\"\nA user\n\"\"\"\ninterface Node {id: ID!} ",
            r#"type User implements Node & Named @other(a: [1,"x",{b: C}], d: null) {"the id""#,
            "\n",
            r#"id: ID! name(first: Int = 5, "last""#,
            "\n",
            r#"last: [String!]! = ["a"] @deprecated(reason: "x y"), f: Filter = {a: 1,b: E}): String @deprecated(reason: "no") old: Int @tag(name: "a") posts: [Post!]!} "#,
            "interface Named {name: String} ",
            "enum Color @x {\"red\"\nRED GREEN @deprecated} ",
            "input Filter @y {a: Int = 3 @z b: E = E c: [Int!]} ",
            r#"scalar Date @specifiedBy(url: "http://x") union Any = User | Post type Post {id: ID!} "#,
            "directive @other(a: Int) repeatable on OBJECT | FIELD_DEFINITION",
        );
        assert_eq!(merge(&[users, posts]).unwrap(), expected);
    }

    #[test]
    fn subgraphs_that_do_not_agree_are_refused() {
        for (sdls, why) in [
            (
                [
                    "type Query {a: A} type A {x: Int}",
                    "type Query {b: A} extend type B {x: Int}",
                ],
                "B is extended, and no subgraph defines it",
            ),
            (
                ["type A {x: Int}", "type A {y: Int}"],
                "A is shared by subgraphs that do not define it alike",
            ),
            (
                ["type Query {a: Int}", "type Query {a: String}"],
                "the field a of Query is Int in one subgraph and String in another",
            ),
            (
                ["type A @key(fields: \"x\") {x: Int}", "type A {x: Int}"],
                "A is an entity, and is defined in several subgraphs",
            ),
            (["type A {", ""], "line 1 of it is no schema definition"),
        ] {
            assert_eq!(merge(&sdls), Err(why.to_owned()));
        }
        let deep = format!(
            "type A {{x: {}Int{}}}",
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        assert!(check(&deep).is_err());
    }
}
