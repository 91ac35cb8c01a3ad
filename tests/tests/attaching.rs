//! Each way in which the documents let servers in is typed on a host that has what it is for, and a load balancer
//! reaches the servers by it. Not that of a VLAN: kernels of machines that tests run on may have none.
#![expect(
    clippy::indexing_slicing,
    reason = "what the door answers is JSON, and a panic is a failed test"
)]

use end_to_end::{
    Door, Host, Reader, Servers, eventually, install_without_machines, program_of_this_package,
};
use serde_json::json;

const PAGE: &str = "docs/how-to/attach.md";

/// A page below one of its headings, typed into a project that is there for it, and the servers behind it.
struct Way<'h> {
    host: &'h Host,
    door: Door,
}

impl Way<'_> {
    /// Types what is below the heading, and has a load balancer ask the server at `backend`. Returns the balancer's
    /// address. The project stays.
    fn is_taken(
        &self,
        reader: &mut Reader<'_>,
        heading: &str,
        subnet: &str,
        backend: &str,
    ) -> String {
        self.door
            .do_("create", "project", json!({ "name": "shop" }));
        assert!(reader.types_section(PAGE, heading) > 0);
        let form = json!({ "name": "web", "subnet": subnet, "wait": false,
            "backend": { "entities": [backend], "health-check": { "criteria": {
                "interval": 0.5, "timeout": 0.5, "health-threshold": 1, "unhealth-threshold": 2 } } } });
        self.door.do_("create", "instance", form);
        let info = self
            .door
            .await_condition(&json!({ "name": "web" }), "serving");
        let address = info["addresses"][0].as_str().expect("it serves").to_owned();
        let answer = self.host.shell(&format!(
            "curl --silent --fail --max-time 5 http://{address}/"
        ));
        assert!(answer.contains("served"), "{heading}: {answer}");
        address
    }

    /// Takes the project away, and the cable if there is one.
    fn is_left(&self) {
        self.door.do_(
            "delete",
            "project",
            json!({ "name": "shop", "cascade": true }),
        );
        eventually("the interface is back", || {
            let links = self.host.shell("ip -brief link");
            match ["lb1", "eth1"].iter().any(|name| links.contains(name)) {
                true => Ok(()),
                false => Err(links),
            }
        });
        self.host.shell("ip link delete lb0 2>/dev/null; true");
    }
}

#[test]
fn servers_are_let_in_by_each_way_that_the_documents_tell() {
    let host = Host::new();
    install_without_machines(&host);
    let mut reader = Reader::new(&host);
    reader.serve();
    let way = Way {
        host: &host,
        door: Door::at(&host.root().join("run/evenkeel/evenkeel.sock")),
    };
    let (lan, server) = ("192.168.1.0/24", "192.168.1.20:8080");

    let spare = Servers::new(&host, "eth1", &["192.168.1.20/24"]);
    let _on_spare = spare.http("served", server);
    way.is_taken(&mut reader, "A NIC to spare", lan, server);
    way.is_left();

    let nic = Servers::new(&host, "eth0", &["192.168.1.20/24"]);
    let _on_nic = nic.http("served", server);
    host.shell("ip address add 192.168.1.5/24 dev eth0");
    host.shell("ip link add br0 type bridge && ip link set br0 up");
    let port = Servers::new(&host, "port0", &["192.168.1.20/24"]);
    host.shell("ip link set port0 master br0");
    let _on_port = port.http("served", server);
    way.is_taken(&mut reader, "A bridge", lan, server);
    way.is_left();

    let origin = program_of_this_package("origin");
    let origin = origin.to_str().expect("the build's path is text");
    let _here = host.start("here", origin, &["http", "served", "0.0.0.0:8080"]);
    let own = "10.1.0.0/24";
    way.is_taken(&mut reader, "This machine", own, "10.1.0.10:8080");
    way.is_left();

    let address = way.is_taken(&mut reader, "One NIC and no bridge", own, "10.1.0.11:8080");

    // While it is there: somebody on another machine, who has a route.
    let client = Servers::new(&host, "eth2", &["192.168.9.9/24"]);
    host.shell("ip address add 192.168.9.5/24 dev eth2");
    client.shell("ip route add 10.200.0.0/16 via 192.168.9.5");
    assert_eq!(reader.types_section(PAGE, "Clients on other machines"), 1);
    let answer = client.shell(&format!(
        "curl --silent --fail --max-time 5 http://{address}/"
    ));
    assert!(answer.contains("served"), "{answer}");
    way.is_left();
}
