//! A stand-in for an open source Tyk Gateway 5.14 in file mode: a real HTTP server with the two
//! states of a real one (disk and live), its reload, its answers to the byte where they were
//! recorded, and its traps. It serves the control API and, if asked, a plain proxy port. It is
//! no gateway: it checks no keys, limits nothing, and runs no plugins.

mod apis;
mod certs;
mod duration;
mod faults;
mod listen_path;
mod log;
mod oas;
mod policies;
mod project;
mod proxy;
mod reload;
mod reply;
mod routes;
mod rules;
mod schema;
mod serve;
mod servers;
mod settle;
mod state;
mod target;
mod types;
mod validate;
mod versions;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use faults::{Asked, Fault, Faults, Hang};
pub use log::{Keep, Kind, Object, Seen};

use reload::Reloader;
use serve::Shared;
use state::{Disk, File, classic, policy};
use types::types;

/// How a gateway is configured.
#[derive(Clone)]
pub struct GatewayOptions {
    /// The value that `X-Tyk-Authorization` must have.
    pub secret: String,
    /// Where the control API listens.
    pub listen: SocketAddr,
    /// Where requests are proxied; absent: nowhere.
    pub proxy: Option<SocketAddr>,
    /// The address that OAS documents show in `servers`; absent: the proxy port's own, or
    /// `127.0.0.1:8080` without one.
    pub public_address: Option<String>,
    /// What `/hello` and `/ready` say.
    pub version: String,
    /// Reloads that were asked for are begun at this pace.
    pub tick: Duration,
    /// Without a path for policies, writes of policies are answered with 200 and vanish.
    pub policy_path: bool,
    /// `/config` is answered.
    pub config_inspection: bool,
    /// What `/tyk/schema` has, as another version would; absent: what goes with the table of types.
    pub schema: Option<serde_json::Value>,
    /// The variables that `env://NAME` in a definition refers to.
    pub environment: BTreeMap<String, String>,
    /// `/hello` and `/ready` show details from this age on.
    pub health_check_after: Duration,
    /// How much of each request the log keeps.
    pub keep: Keep,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            secret: "SECRET".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            proxy: None,
            public_address: None,
            version: "5.14.0".to_owned(),
            tick: Duration::from_secs(1),
            policy_path: true,
            config_inspection: true,
            schema: None,
            environment: BTreeMap::new(),
            health_check_after: Duration::from_secs(10),
            keep: Keep::Bodies(1 << 20),
        }
    }
}

/// The secret stays out.
impl std::fmt::Debug for GatewayOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GatewayOptions")
            .field("listen", &self.listen)
            .field("proxy", &self.proxy)
            .field("version", &self.version)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

/// A running stand-in; it stops when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    reloader: Reloader,
}

impl Gateway {
    /// Starts with nothing on disk, and returns when it is ready.
    pub async fn start(options: GatewayOptions) -> io::Result<Self> {
        let (shared, requests) = Shared::new(options);
        shared.open_control(None).await?;
        shared.open_proxy_port().await?;
        let reloader = Reloader::spawn(shared.clone(), requests);
        let gateway = Self { shared, reloader };
        gateway.reload_now().await;
        Ok(gateway)
    }

    /// The address of the control API, as `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.control_address())
    }

    /// The address of the proxy port.
    pub fn proxy_url(&self) -> Option<String> {
        self.shared
            .proxy_address()
            .map(|address| format!("http://{address}"))
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<Seen> {
        self.shared.journal().all()
    }

    /// Forgets the requests and the misuse so far.
    pub fn clear_log(&self) {
        self.shared.journal().clear();
    }

    /// What a client did that may harm a real gateway.
    pub fn misuse(&self) -> Vec<String> {
        self.shared.journal().misuse()
    }

    /// How many loads have been completed.
    pub fn loads(&self) -> u64 {
        self.shared.loads()
    }

    /// A live API as `GET` shows it: the OAS document of an OAS API, else the classic definition.
    pub fn live_api(&self, id: &str) -> Option<Value> {
        let state = self.shared.state();
        let api = state.live.apis.get(id)?;
        match &api.document {
            Some(document) => {
                let filled = oas::fill(document, &api.definition);
                serde_json::from_str(&oas::encode(&filled)).ok()
            }
            None => serde_json::from_slice(&api.text()).ok(),
        }
    }

    /// The classic definition of a live API, which is a projection for an OAS API.
    pub fn live_classic(&self, id: &str) -> Option<Value> {
        let state = self.shared.state();
        let api = state.live.apis.get(id)?;
        serde_json::from_slice(&api.text()).ok()
    }

    /// The ids of the live APIs, sorted.
    pub fn live_ids(&self) -> Vec<String> {
        self.shared.state().live.apis.keys().cloned().collect()
    }

    pub fn live_policy(&self, id: &str) -> Option<Value> {
        let state = self.shared.state();
        let found = policies::find(&state.live, id)?;
        serde_json::from_str(&types().encode(&policy(), found)).ok()
    }

    pub fn live_policy_ids(&self) -> Vec<String> {
        let state = self.shared.state();
        let mut ids: Vec<String> = state
            .live
            .policies
            .keys()
            .map(|(_, id)| id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// The names of the files on disk: those of APIs, then those of policies.
    pub fn files(&self) -> Vec<String> {
        let state = self.shared.state();
        let apis = state
            .disk
            .apis
            .keys()
            .map(|name| format!("apps/{name}.json"));
        let policies = state
            .disk
            .policies
            .keys()
            .map(|name| format!("policies/{name}.json"));
        apis.chain(policies).collect()
    }

    /// Puts an API on disk as somebody with a shell would: `body` is an OAS document if it has
    /// the extension, else a classic definition. The file is named after the id.
    pub fn put_api_by_hand(&self, body: &Value) {
        let id = apis::id_in(body);
        self.put_file_by_hand(&id, body);
    }

    /// As `put_api_by_hand`, under a file name of its own.
    pub fn put_file_by_hand(&self, name: &str, body: &Value) {
        let mut state = self.shared.state();
        let disk = &mut state.disk;
        if let Some(extension) = body.get(oas::EXTENSION) {
            let mut definition = project::project(body, extension);
            state::set(&mut definition, "/is_oas", true.into());
            disk.apis
                .insert(name.to_owned(), File::Definition(Arc::new(definition)));
            disk.apis.insert(
                format!("{name}-oas"),
                File::Document(Arc::new(oas::stored(body))),
            );
        } else {
            let file = types()
                .decode(&classic(), body)
                .map_or(File::Broken, |body| File::Definition(Arc::new(body)));
            disk.apis.insert(name.to_owned(), file);
        }
    }

    /// Puts a file on disk that is not JSON.
    pub fn break_file_by_hand(&self, name: &str) {
        self.shared
            .state()
            .disk
            .apis
            .insert(name.to_owned(), File::Broken);
    }

    pub fn put_policy_by_hand(&self, name: &str, body: &Value) {
        let decoded = types().decode(&policy(), body).ok().map(Arc::new);
        self.shared
            .state()
            .disk
            .policies
            .insert(name.to_owned(), decoded);
    }

    /// Removes the files of an API.
    pub fn remove_by_hand(&self, id: &str) {
        let mut state = self.shared.state();
        for suffix in ["", "-oas", "-mcp"] {
            state.disk.apis.remove(&format!("{id}{suffix}"));
        }
    }

    pub fn remove_policy_by_hand(&self, id: &str) {
        self.shared.state().disk.policies.remove(id);
    }

    /// A load that no client asked for, as another client or Redis may cause one.
    pub async fn reload_now(&self) {
        self.shared.load().await;
    }

    /// Ends the process: connections are cut, the ports closed, nothing is live.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Ends the process and starts it again on the same ports. The listener is up before the
    /// first load, which runs in the background; hold it up with `Faults::hold_loads`.
    pub async fn restart(&self, empty_disk: bool) -> io::Result<()> {
        self.shared.stop();
        {
            let mut state = self.shared.state();
            if empty_disk {
                state.disk = Disk::default();
            }
            // Policies are live before the APIs are.
            state.live.policies = state::load_policies(&state.disk);
        }
        self.shared
            .open_control(Some(self.shared.control_address()))
            .await?;
        self.shared.open_proxy_port().await?;
        self.reloader.load_in_background(self.shared.clone());
        Ok(())
    }

    /// Pretends that the process started earlier than it did.
    pub fn grow_older(&self, by: Duration) {
        self.shared.grow_older(by);
    }

    /// Waits until a load has been completed since the start.
    pub async fn ready(&self) {
        self.shared.ready().await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.stop();
    }
}
