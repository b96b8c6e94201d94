//! `mcp-remote list`: the servers of the configuration, for people or for programs.

use mcp_remote_proto::v1::{ConfiguredServer, ListServersRequest, ListServersResponse};

use crate::exit::{Exit, ShimError};
use crate::json::{self, Object};
use crate::launch::Launcher;
use crate::notices::Notices;

use super::{answered, print};

/// Prints the servers in force.
///
/// # Errors
/// The daemon does not say.
pub(crate) async fn run(
    json: bool,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let daemon = launcher.connect().await?;
    let answer = answered(&daemon, ListServersRequest {}).await?;
    if json {
        print(&document(&answer))?;
    } else {
        print(&table(&answer))?;
    }
    match answer.problem.as_str() {
        "" => Ok(Exit::OK),
        problem => {
            if !json {
                notices.error(problem);
            }
            Ok(Exit::ERROR)
        }
    }
}

fn table(answer: &ListServersResponse) -> String {
    if answer.servers.is_empty() {
        if !answer.problem.is_empty() {
            // Nobody knows what is named there, and nothing can be added to it.
            return String::new();
        }
        return format!(
            "No server is named in {}: mcp-remote add NAME URL names one.\n",
            answer.file
        );
    }
    let width = |of: fn(&ConfiguredServer) -> usize, heading: &str| {
        let widest = answer.servers.iter().map(of).max();
        widest.unwrap_or_default().max(heading.len())
    };
    let names = width(|server| server.name.chars().count(), "NAME");
    let urls = width(|server| server.url.chars().count(), "URL");
    let mut text = format!("{:names$}  {:urls$}  NOTE\n", "NAME", "URL");
    for server in &answer.servers {
        let line = format!(
            "{:names$}  {:urls$}  {}",
            server.name,
            server.url,
            note(server)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn note(server: &ConfiguredServer) -> String {
    let mut notes = Vec::new();
    if !server.enabled {
        notes.push("disabled".to_owned());
    }
    if server.warm {
        notes.push("warm".to_owned());
    }
    if !server.headers.is_empty() {
        notes.push(format!("headers {}", server.headers.join(", ")));
    }
    if !server.problem.is_empty() {
        notes.push(server.problem.clone());
    }
    notes.join("; ")
}

fn document(answer: &ListServersResponse) -> String {
    let document = Object::new()
        .string("file", &answer.file)
        .string("problem", &answer.problem)
        .raw("servers", &json::array(answer.servers.iter().map(server)));
    document.end() + "\n"
}

fn server(server: &ConfiguredServer) -> String {
    let headers = server.headers.iter().map(|name| json::string(name));
    let settings = server.settings.iter();
    let settings = settings.fold(Object::new(), |object, setting| {
        object.string(&setting.flag, &setting.value)
    });
    Object::new()
        .string("name", &server.name)
        .string("url", &server.url)
        .raw("enabled", &server.enabled.to_string())
        .raw("warm", &server.warm.to_string())
        .raw("headers", &json::array(headers))
        .raw("settings", &settings.end())
        .string("problem", &server.problem)
        .end()
}

#[cfg(test)]
mod tests {
    use mcp_remote_proto::v1::Setting;

    use super::*;

    fn answer() -> ListServersResponse {
        let settings = vec![Setting {
            flag: "transport".into(),
            value: "http-only".into(),
        }];
        ListServersResponse {
            file: "/c.toml".into(),
            problem: String::new(),
            servers: vec![
                ConfiguredServer {
                    name: "a".into(),
                    url: "https://a.example.com/".into(),
                    enabled: true,
                    warm: true,
                    headers: vec!["X-Key".into()],
                    settings,
                    problem: String::new(),
                },
                ConfiguredServer {
                    name: "longer".into(),
                    url: "https://b/".into(),
                    ..ConfiguredServer::default()
                },
            ],
        }
    }

    #[test]
    fn the_table_has_a_line_a_server() {
        let expected = "\
NAME    URL                     NOTE
a       https://a.example.com/  warm; headers X-Key
longer  https://b/              disabled
";
        assert_eq!(table(&answer()), expected);
    }

    #[test]
    fn the_document_has_everything() {
        let mut answer = answer();
        answer.servers.pop();
        let expected = "{\"file\":\"/c.toml\",\"problem\":\"\",\"servers\":[{\"name\":\"a\",\
            \"url\":\"https://a.example.com/\",\"enabled\":true,\"warm\":true,\"headers\":[\"X-Key\"],\
            \"settings\":{\"transport\":\"http-only\"},\"problem\":\"\"}]}\n";
        assert_eq!(document(&answer), expected);
    }
}
