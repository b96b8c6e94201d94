//! The daemon describes its services to whoever may connect, if it was told to.

use mcp_remote_tests::daemon::TestDaemon;
use mcp_remote_tests::home::TestHome;
use mcp_remote_tests::rpc::Rpc;
use tonic::Code;

#[test]
fn services_are_described_only_on_request() {
    let home = TestHome::new();
    let _daemon = TestDaemon::start(&home, &[]);
    let refused = Rpc::connect(&home).services().expect_err("it is off");
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[test]
fn a_client_that_knows_nothing_learns_every_service() {
    let mut by_environment = TestHome::new();
    by_environment.set("MCP_REMOTE_REFLECTION", "1");
    for (home, flags) in [
        (TestHome::new(), &["--reflection"][..]),
        (by_environment, &[]),
    ] {
        let _daemon = TestDaemon::start(&home, flags);
        let rpc = Rpc::connect(&home);
        let mut services = rpc.services().expect("it tells");
        services.sort();
        let expected = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "mcp_remote.v1.ManagementService",
            "mcp_remote.v1.RelayService",
        ];
        assert_eq!(services, expected);
        let files = rpc
            .described("mcp_remote.v1.StatusResponse")
            .expect("it is described");
        let text: Vec<u8> = files.concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("uptime_ms"), "the fields are named");
    }
}
