//! `SubGraph` and `SuperGraph`: the schemas of federated APIs. They are no objects of a gateway;
//! the APIs that serve them are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Map, Value, json};

use super::{
    super::{Place, Reading},
    Cluster, FullName, Kind, Resource,
    fields::{self, Unknown},
    reference, sdl,
};

struct SubGraph {
    schema: String,
    sdl: String,
    place: Place,
    /// The one API that serves it.
    served_by: Option<FullName>,
}

struct SuperGraph {
    schema: String,
    subgraphs: Vec<FullName>,
    merged: String,
    place: Place,
    is_used: AtomicBool,
}

pub(super) struct Graphs {
    subgraphs: BTreeMap<FullName, SubGraph>,
    supergraphs: BTreeMap<FullName, SuperGraph>,
}

impl Graphs {
    pub fn new(
        subgraphs: BTreeMap<FullName, Resource>,
        supergraphs: BTreeMap<FullName, Resource>,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) -> Self {
        let subgraphs: BTreeMap<FullName, SubGraph> = subgraphs
            .into_iter()
            .map(|(name, resource)| (name, SubGraph::read(resource, reading)))
            .collect();
        let mut merged = BTreeMap::new();
        for (name, resource) in supergraphs {
            let supergraph = SuperGraph::read(resource, &subgraphs, cluster, reading);
            merged.insert(name, supergraph);
        }
        Self {
            subgraphs,
            supergraphs: merged,
        }
    }

    /// Notes which API serves which subgraph: a supergraph sends its requests there.
    pub fn link(
        &mut self,
        apis: &BTreeMap<FullName, Resource>,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) {
        let mut wanted = BTreeSet::new();
        for (name, api) in apis {
            let graph = match served(&api.spec, name) {
                Some((Mode::SubGraph, graph)) => graph,
                Some((Mode::SuperGraph, graph)) => {
                    wanted.insert(graph);
                    continue;
                }
                None => continue,
            };
            let Some(subgraph) = self.subgraphs.get_mut(&graph) else {
                continue;
            };
            match &subgraph.served_by {
                None => subgraph.served_by = Some(name.clone()),
                Some(first) => {
                    let message = format!(
                        "the SubGraph {graph} is served by {first} already, and has one API"
                    );
                    reading.wrong(&api.place, "/spec/graphql/graph_ref", message, None);
                }
            }
        }
        // A supergraph of subgraphs that nobody serves has nowhere to send requests to.
        for (name, supergraph) in &self.supergraphs {
            for (index, graph) in supergraph.subgraphs.iter().enumerate() {
                let served_by = self
                    .subgraphs
                    .get(graph)
                    .and_then(|graph| graph.served_by.as_ref());
                let is_served = served_by.is_some_and(|api| {
                    cluster
                        .apis
                        .contains_key(&(Kind::ApiDefinition, api.clone()))
                });
                if !is_served && wanted.contains(name) {
                    reading.wrong(
                        &supergraph.place,
                        format!("/spec/subgraph_refs/{index}"),
                        format!("no ApiDefinition here serves the SubGraph {graph}"),
                        Some("add one whose graphql.graph_ref names it"),
                    );
                }
            }
        }
    }

    /// Writes the graph that an API names into its definition.
    pub fn fill(
        &self,
        spec: &mut Map<String, Value>,
        name: &FullName,
        place: &Place,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) {
        let served = served(spec, name);
        let Some(graphql) = spec.get_mut("graphql").and_then(Value::as_object_mut) else {
            return;
        };
        let graph_ref = graphql.remove("graph_ref");
        let pointer = "/graphql/graph_ref";
        match served {
            None => {
                let is_named = graph_ref
                    .as_ref()
                    .and_then(Value::as_str)
                    .is_some_and(|text| !text.is_empty());
                if is_named {
                    reading.wrong(
                        place,
                        pointer,
                        "names a graph, which a subgraph or a supergraph alone serves",
                        Some("write execution_mode: subgraph or supergraph, or put the schema into graphql.schema"),
                    );
                }
            }
            Some((Mode::SubGraph, graph)) => match self.subgraphs.get(&graph) {
                None => missing("SubGraph", &graph, place, reading),
                Some(subgraph) => {
                    graphql.insert("schema".to_owned(), json!(subgraph.schema));
                    let section = section(graphql, "subgraph");
                    section.insert("sdl".to_owned(), json!(subgraph.sdl));
                }
            },
            Some((Mode::SuperGraph, graph)) => match self.supergraphs.get(&graph) {
                None => missing("SuperGraph", &graph, place, reading),
                Some(supergraph) => {
                    let subgraphs = supergraph.subgraphs.iter();
                    let entries: Vec<Value> = subgraphs
                        .filter_map(|graph| self.subgraphs.get(graph))
                        .filter_map(|graph| graph.entry(cluster))
                        .collect();
                    let size = supergraph.schema.len()
                        + supergraph.merged.len()
                        + entries
                            .iter()
                            .map(|entry| entry.to_string().len())
                            .sum::<usize>();
                    let is_again = supergraph.is_used.swap(true, Ordering::Relaxed);
                    if is_again && !cluster.copied.take(size, place, reading) {
                        return;
                    }
                    graphql.insert("schema".to_owned(), json!(supergraph.schema));
                    let section = section(graphql, "supergraph");
                    section.insert("merged_sdl".to_owned(), json!(supergraph.merged));
                    let listed = section.entry("subgraphs").or_insert_with(|| json!([]));
                    if let Some(listed) = listed.as_array_mut() {
                        listed.extend(entries);
                    } else {
                        *listed = Value::Array(entries);
                    }
                }
            },
        }
    }

    pub fn finish(self, reading: &mut Reading<'_>) {
        for subgraph in self.subgraphs.into_values() {
            let reason = match subgraph.served_by {
                None => "a SubGraph that no ApiDefinition serves",
                Some(_) => continue,
            };
            reading.ignore(&subgraph.place, reason);
        }
        for supergraph in self.supergraphs.into_values() {
            if !supergraph.is_used.into_inner() {
                let reason = "a SuperGraph that no ApiDefinition serves";
                reading.ignore(&supergraph.place, reason);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    SubGraph,
    SuperGraph,
}

/// The graph that an API serves.
fn served(spec: &Map<String, Value>, name: &FullName) -> Option<(Mode, FullName)> {
    let graphql = spec.get("graphql")?;
    let text = |member: &str| graphql.get(member).and_then(Value::as_str);
    let mode = match text("execution_mode")? {
        "subgraph" => Mode::SubGraph,
        "supergraph" => Mode::SuperGraph,
        _ => return None,
    };
    let graph = text("graph_ref").filter(|graph| !graph.is_empty())?;
    let graph = FullName {
        namespace: name.namespace.clone(),
        name: graph.to_owned(),
    };
    Some((mode, graph))
}

fn missing(kind: &str, graph: &FullName, place: &Place, reading: &mut Reading<'_>) {
    let message = format!("no {kind} {graph} is described here");
    reading.wrong(place, "/graphql/graph_ref", message, None);
}

fn section<'g>(graphql: &'g mut Map<String, Value>, name: &str) -> &'g mut Map<String, Value> {
    let section = graphql.entry(name).or_insert(Value::Null);
    if !section.is_object() {
        *section = json!({});
    }
    section
        .as_object_mut()
        .expect("it was made an object right above")
}

impl SubGraph {
    fn read(resource: Resource, reading: &mut Reading<'_>) -> Self {
        let Resource { spec, place, .. } = resource;
        fields::check("SubGraph", &spec, Unknown::Refused, &place, reading);
        let text = |member: &str| {
            let text = spec.get(member).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let (schema, sdl) = (text("schema"), text("sdl"));
        for (member, text) in [("schema", &schema), ("sdl", &sdl)] {
            if text.is_empty() {
                let message = format!("the {member} is missing");
                reading.wrong(&place, format!("/spec/{member}"), message, None);
            }
        }
        if let Err(message) = sdl::check(&sdl) {
            reading.wrong(&place, "/spec/sdl", message, None);
        }
        Self {
            schema,
            sdl,
            place,
            served_by: None,
        }
    }

    /// What a supergraph says of it.
    fn entry(&self, cluster: &Cluster) -> Option<Value> {
        let name = self.served_by.as_ref()?;
        let api = cluster.apis.get(&(Kind::ApiDefinition, name.clone()))?;
        // The operator names the resource, which a gateway finds when the API's name is like it.
        let address = if looping_name(&api.name).eq_ignore_ascii_case(&name.name) {
            &name.name
        } else {
            &api.id
        };
        Some(json!({
            "api_id": api.id,
            "name": api.name,
            "url": format!("tyk://{address}"),
            "sdl": self.sdl,
        }))
    }
}

/// The name by which a gateway finds an API from within.
fn looping_name(name: &str) -> String {
    let mut found = String::new();
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            found.push(letter);
        } else if !found.ends_with('-') {
            found.push('-');
        }
    }
    found
}

impl SuperGraph {
    fn read(
        resource: Resource,
        subgraphs: &BTreeMap<FullName, SubGraph>,
        cluster: &Cluster,
        reading: &mut Reading<'_>,
    ) -> Self {
        let Resource {
            name, spec, place, ..
        } = resource;
        fields::check("SuperGraph", &spec, Unknown::Refused, &place, reading);
        let mut refs = Vec::new();
        let mut seen = BTreeSet::new();
        let named = spec.get("subgraph_refs").and_then(Value::as_array);
        for (index, graph) in named.into_iter().flatten().enumerate() {
            let pointer = format!("/spec/subgraph_refs/{index}");
            let graph = reference(graph, &name.namespace, &place, &pointer, reading);
            let Some(graph) = graph else {
                continue;
            };
            if !seen.insert(graph.clone()) {
                let message = format!("the SubGraph {graph} is named twice");
                reading.wrong(&place, pointer, message, None);
            } else if !subgraphs.contains_key(&graph) {
                let message = format!("no SubGraph {graph} is described here");
                reading.wrong(&place, pointer, message, None);
            } else {
                refs.push(graph);
            }
        }
        let sdls = refs.iter().filter_map(|graph| subgraphs.get(graph));
        let sdls: Vec<&str> = sdls.map(|graph| graph.sdl.as_str()).collect();
        let size = sdls.iter().map(|sdl| sdl.len()).sum();
        let may_merge = cluster.copied.take(size, &place, reading);
        let merged = match may_merge.then(|| sdl::merge(&sdls)) {
            None => String::new(),
            Some(Ok(merged)) => merged,
            Some(Err(message)) => {
                let message = format!("the subgraphs cannot be merged: {message}");
                reading.wrong(&place, "/spec/subgraph_refs", message, None);
                String::new()
            }
        };
        let schema = spec.get("schema").and_then(Value::as_str);
        Self {
            schema: schema.unwrap_or_default().to_owned(),
            subgraphs: refs,
            merged,
            place,
            is_used: AtomicBool::new(false),
        }
    }
}
