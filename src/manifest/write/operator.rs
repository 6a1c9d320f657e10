//! Classic definitions as `ApiDefinition`, policies as `SecurityPolicy`, where these read back as
//! the same object. All others keep their native form, and say why.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Draft, Layout, names};
use crate::{
    domain::object::{Kind, ObjectKey},
    manifest::{Options, SourceFile, native},
};

/// Rewrites what can be rewritten. Policies name APIs by their resources, so APIs come first.
pub(super) fn rewrite(drafts: &mut BTreeMap<ObjectKey, Draft<'_>>, options: &Options) {
    let mut apis = BTreeMap::new();
    for draft in drafts.values_mut() {
        match draft.manifest.object.kind {
            Kind::ClassicApi => {
                let resource = api(draft);
                try_as(draft, &resource, &[], options);
                if draft.manifest.layout == Layout::Operator {
                    apis.insert(draft.manifest.object.id.clone(), draft.source());
                }
            }
            // A document is a manifest by itself; a ConfigMap around it says nothing more.
            Kind::OasApi | Kind::McpProxy | Kind::Policy | Kind::Certificate => {}
        }
    }
    let policies = drafts
        .values_mut()
        .filter(|draft| draft.manifest.object.kind == Kind::Policy);
    for draft in policies {
        match policy(draft, &apis) {
            Ok((resource, others)) => try_as(draft, &resource, &others, options),
            Err(reason) => stays_native(draft, &reason),
        }
    }
}

/// Takes the resource as the object's manifest if it says the same.
fn try_as(draft: &mut Draft<'_>, resource: &Value, others: &[SourceFile], options: &Options) {
    let text = match serde_saphyr::to_string(resource) {
        Ok(text) => text,
        Err(error) => {
            return stays_native(draft, &format!("it cannot be written as YAML: {error}"));
        }
    };
    let mut manifest = draft.manifest.clone();
    manifest.path = format!("{}.yaml", names::file_stem(&manifest.object));
    manifest.text = text;
    manifest.layout = Layout::Operator;
    let native = std::mem::replace(&mut draft.manifest, manifest);
    let reason = match draft.differences(others, options) {
        Ok(differs) if differs == native.differs => return,
        Ok(differs) => format!("a resource does not say it exactly: {}", differs.join(", ")),
        Err(problem) => format!("a resource cannot say it: {problem}"),
    };
    draft.manifest = native;
    stays_native(draft, &reason);
}

fn stays_native(draft: &mut Draft<'_>, reason: &str) {
    let note = format!("it keeps its native form: {reason}");
    draft.manifest.notes.push(note);
}

fn api(draft: &Draft<'_>) -> Value {
    resource(
        "ApiDefinition",
        "api_id",
        &draft.manifest.object,
        &draft.said,
    )
}

/// The resource, and the files of the APIs that it names.
fn policy(
    draft: &Draft<'_>,
    apis: &BTreeMap<String, SourceFile>,
) -> Result<(Value, Vec<SourceFile>), String> {
    let mut spec = draft.said.clone();
    let mut entries = Vec::new();
    let mut others = Vec::new();
    let rights = spec
        .as_object_mut()
        .and_then(|members| members.remove("access_rights"));
    for (id, right) in rights
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let Some(api) = apis.get(id) else {
            return Err(format!(
                "it gives access to {id}, which is not written as an ApiDefinition"
            ));
        };
        others.push(api.clone());
        let mut entry = right.as_object().cloned().unwrap_or_default();
        entry.remove("api_id");
        entry.remove("api_name");
        let name = names::resource(&ObjectKey::new(Kind::ClassicApi, id.as_str()));
        entry.insert("name".to_owned(), json!(name.name));
        entry.insert("namespace".to_owned(), json!(name.namespace));
        entries.push(Value::Object(entry));
    }
    if let Some(members) = spec.as_object_mut() {
        members.insert("access_rights_array".to_owned(), Value::Array(entries));
    }
    let key = &draft.manifest.object;
    let id_name = native::id_pointer(key.kind).trim_start_matches('/');
    Ok((resource("SecurityPolicy", id_name, key, &spec), others))
}

fn resource(kind: &str, id_name: &str, key: &ObjectKey, spec: &Value) -> Value {
    let names::ResourceName {
        namespace,
        name,
        gives_id,
    } = names::resource(key);
    let mut spec: Map<String, Value> = spec.as_object().cloned().unwrap_or_default();
    if gives_id {
        spec.remove(id_name);
    }
    json!({
        "apiVersion": "tyk.tyk.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}
