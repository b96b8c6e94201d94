//! A real MCP server on rmcp: `rmcp-server MODE PORT`.
//!
//! MODE is `stateful` (sessions, streams of events) or `stateless` (neither
//! sessions nor streams). What it serves stands in `lists`, what its tools do in
//! `tools`; they are those of ../python/server.py.

#![expect(
    deprecated,
    reason = "sampling, roots and logging are what the suites are about"
)]

mod lists;
mod tools;

use std::sync::Arc;

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, ErrorData,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const LARGEST_BODY: usize = 64 * 1024 * 1024;

type Context = RequestContext<RoleServer>;

/// Makes a value of the SDK from its JSON, which is shorter than its builders.
fn model<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("what is written here is what the SDK models")
}

#[derive(Clone, Default)]
struct Peers {
    shared: Arc<tools::Shared>,
}

impl ServerHandler for Peers {
    fn get_info(&self) -> ServerConfig {
        model(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "completions": {},
                "logging": {},
                "prompts": { "listChanged": true },
                "resources": { "listChanged": true, "subscribe": true },
                "tools": { "listChanged": true },
            },
            "serverInfo": { "name": "rmcp-server", "version": "1.2.3" },
            "instructions": "A server for tests. é \u{1f600}",
        }))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(lists::page("tools", lists::tools(), request))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        tools::call(&self.shared, request, context).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(lists::page("resources", lists::resources(), request))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = json!({ "name": "any", "uriTemplate": "test://resource/{n}" });
        Ok(model(json!({ "resourceTemplates": [template] })))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        lists::read(&request.uri)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.shared.subscribe(request.uri, true);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.shared.subscribe(request.uri, false);
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let argument = json!({ "name": "city", "required": true });
        Ok(model(
            json!({ "prompts": [{ "name": "weather", "arguments": [argument] }] }),
        ))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        lists::prompt(&json!(request))
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let cities: Vec<&str> = ["Ghent", "Geneva", "Lima"]
            .into_iter()
            .filter(|city| city.starts_with(&request.argument.value))
            .collect();
        let total = cities.len();
        Ok(model(
            json!({ "completion": { "values": cities, "total": total, "hasMore": false } }),
        ))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, port] = &arguments[..] else {
        return Err("usage: rmcp-server stateful|stateless PORT".into());
    };
    let config = StreamableHttpServerConfig::default().with_max_request_body_bytes(LARGEST_BODY);
    let peers = Peers::default();
    let factory = move || Ok(peers.clone());
    let router = match mode.as_str() {
        "stateful" => axum::Router::new().fallback_service(StreamableHttpService::new(
            factory,
            Arc::new(LocalSessionManager::default()),
            config,
        )),
        "stateless" => axum::Router::new().fallback_service(StreamableHttpService::new(
            factory,
            Arc::new(NeverSessionManager::default()),
            config
                .with_legacy_session_mode(false)
                .with_json_response(true),
        )),
        _ => return Err(format!("there is no mode {mode}").into()),
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("listening");
    Ok(axum::serve(listener, router).await?)
}
