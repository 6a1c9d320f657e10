//! What a Dashboard's developer portal shows. A gateway has none: the resources are checked, with
//! their references, and said to be of no use.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::Reading, Cluster, FullName, Kind, Resource, check_spec, fields::Unknown, reference,
};

pub(super) fn check(
    resources: [(Kind, BTreeMap<FullName, Resource>); 3],
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let descriptions: Vec<FullName> = resources
        .iter()
        .filter(|(kind, _)| *kind == Kind::ApiDescription)
        .flat_map(|(_, resources)| resources.keys().cloned())
        .collect();
    for (kind, resources) in resources {
        for resource in resources.into_values() {
            check_spec(kind, &resource, Unknown::Refused, cluster, reading);
            let spec = Value::Object(resource.spec.clone());
            match kind {
                Kind::PortalApiCatalogue => {
                    let apis = spec.get("apis").and_then(Value::as_array);
                    for (index, api) in apis.into_iter().flatten().enumerate() {
                        let pointer = format!("/spec/apis/{index}");
                        entry(api, &pointer, &resource, cluster, reading);
                        described(api, &pointer, &resource, &descriptions, reading);
                    }
                }
                _ => entry(&spec, "/spec", &resource, cluster, reading),
            }
            let reason = format!(
                "a {}, which is not applicable to a gateway: it has no portal",
                kind.as_str()
            );
            reading.ignore(&resource.place, reason);
        }
    }
}

/// The policy of an entry of the catalogue.
fn entry(
    entry: &Value,
    pointer: &str,
    resource: &Resource,
    cluster: &Cluster,
    reading: &mut Reading<'_>,
) {
    let Some(policy) = entry.get("policyRef").filter(|policy| policy.is_object()) else {
        return;
    };
    let pointer = format!("{pointer}/policyRef");
    let place = &resource.place;
    let name = reference(policy, &resource.name.namespace, place, &pointer, reading);
    if let Some(name) = name
        && !cluster.policies.contains_key(&name)
    {
        let message = format!("no SecurityPolicy {name} is described here");
        reading.warn(place, pointer, message, None);
    }
}

fn described(
    api: &Value,
    pointer: &str,
    resource: &Resource,
    descriptions: &[FullName],
    reading: &mut Reading<'_>,
) {
    let description = api.get("apiDescriptionRef");
    let Some(description) = description.filter(|description| description.is_object()) else {
        return;
    };
    let pointer = format!("{pointer}/apiDescriptionRef");
    let (place, namespace) = (&resource.place, &resource.name.namespace);
    let name = reference(description, namespace, place, &pointer, reading);
    if let Some(name) = name
        && descriptions.binary_search(&name).is_err()
    {
        let message = format!("no APIDescription {name} is described here");
        reading.warn(place, pointer, message, None);
    }
}
