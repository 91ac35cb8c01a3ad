//! What `--help` says beyond the list of options: what to type, by example.
//!
//! A line that begins with four spaces and `evenkeel` is an example; a test parses each of them.

/// What the program is, at the head of the long help.
pub const ABOUT: &str = "\
Load balancers as a service on your own Linux machines.

You ask for a load balancer and get a URL. Behind the URL stand one or more small VMs that balance
HTTP or TCP over your servers. A health checker replaces VMs that die, and DNS follows.

`evenkeel serve` is the server; it runs on this machine as root. All other commands ask it over a
unix socket, by default /run/evenkeel/evenkeel.sock, which root can open.";

/// The end of the short help.
pub const SEE_MORE: &str = "\
`evenkeel --help` shows the five steps to a first load balancer;
`evenkeel COMMAND --help` shows a command's options with an example.";

/// The end of the long help.
pub const FIRST_STEPS: &str = "\
Five steps to a first load balancer, as root:
  1. Build the image that VMs are started from, once:
    evenkeel image build
  2. Start the server. It stays until Ctrl-C; load balancers outlive it:
    evenkeel serve
  3. In a second terminal, make a project, which is a network of its own:
    evenkeel project create shop
  4. Let your servers into it, by the interface that leads to them:
    evenkeel subnet attach 10.1.0.0/24 eth1
  5. Make the load balancer. Its URL is printed when it serves:
    evenkeel instance create web --http --subnet 10.1.0.0/24 -b 10.1.0.10:8080 -b 10.1.0.11:8080

`evenkeel instance info web` then shows how it does. Names in URLs are answered by Evenkeel's DNS
server, on this machine at 127.0.0.1, port 5354, and on the front network at 10.200.0.1.

Environment:
  EVENKEEL_SOCKET  the server's unix socket, where --socket is not given
  NO_COLOR         set to anything, it keeps colour out of text
  RUST_LOG         what the server logs: error, warn, info (the default), debug or trace

Exit codes:
  0  done
  1  the server refused, or failed
  2  wrong usage
  3  no server answers";

pub const SERVE: &str = "\
Examples:
    evenkeel serve
    evenkeel serve --config /etc/evenkeel.toml
    evenkeel serve --role controller --role checker

State is kept in /var/lib/evenkeel, sockets and logs of VMs in /run/evenkeel. Should the server end,
VMs and what they serve go on; the next one takes them up again. `evenkeel cleanup` takes them away.";

pub const CLEANUP: &str = "\
Example:
    evenkeel cleanup

Stop the server first. What users asked for stays stored: a server that is started again makes it anew.";

pub const IMAGE: &str = "\
Example:
    evenkeel image build";

pub const IMAGE_BUILD: &str = "\
Examples:
    evenkeel image build
    evenkeel image build --kernel-package linux-image-6.1.0-56-cloud-amd64_6.1.180-1_amd64.deb --output image
    evenkeel image build --kernel vmlinuz --modules lib/modules/6.12.1 --output image

Packages are downloaded by apt: where its lists of packages are missing or old, run `apt-get update` first.
The same inputs give the same image. VMs that run keep the one that they were started from.";

pub const PROJECT: &str = "\
Example:
    evenkeel project create shop";

pub const PROJECT_CREATE: &str = "\
Examples:
    evenkeel project create shop
    evenkeel project create \"john's project\" --user john
    evenkeel project create -f project.json

project.json holds {\"name\": \"shop\", \"instances\": [{\"name\": \"web\", \"traffic_type\": \"http\", …}]}.";

pub const PROJECT_LIST: &str = "\
Example:
    evenkeel project list";

pub const PROJECT_INFO: &str = "\
Examples:
    evenkeel project info shop
    evenkeel project info --id 1";

pub const PROJECT_UPDATE: &str = "\
Example:
    evenkeel project update shop --new-name store";

pub const PROJECT_DELETE: &str = "\
Examples:
    evenkeel project delete shop
    evenkeel project delete shop --cascade";

pub const INSTANCE: &str = "\
Example:
    evenkeel instance create web --http --subnet 10.1.0.0/24 --backend 10.1.0.10:8080";

pub const INSTANCE_CREATE: &str = "\
Examples:
    evenkeel instance create web --http --subnet 10.1.0.0/24 -b 10.1.0.10:8080 -b 10.1.0.11:8080@3
    evenkeel instance create db --tcp --port 5432 -b 10.1.0.20:5432 --interval 1 --timeout 0.5
    evenkeel instance create web --project shop --http -b 10.1.0.10 --health-check-path /health --auto-scaling 2..4
    evenkeel instance create web -f web.json --no-wait
    evenkeel instance create web --http -b 10.1.0.10 --set backend.algorithm=least-connections --set timeouts.response=10

What is not given: port 80 for http; a check of each backend at its own port every 5 s, by GET / for
http and a connection for tcp, 2 results in a row to believe it; 1 VM.

web.json holds what `info` of a JSON request does:
  {\"traffic_type\": \"http\", \"subnet\": \"10.1.0.0/24\", \"backend\": {
     \"entities\": [\"10.1.0.10:8080\"], \"health-check\": {\"request-path\": \"/health\"}, \"auto-scaling\": true}}";

pub const INSTANCE_LIST: &str = "\
Examples:
    evenkeel instance list
    evenkeel instance list --project shop";

pub const INSTANCE_INFO: &str = "\
Examples:
    evenkeel instance info web
    evenkeel instance info web --project shop
    evenkeel instance info --id 3 -o json";

pub const INSTANCE_UPDATE: &str = "\
Examples:
    evenkeel instance update web --add-backend 10.1.0.12:8080 --remove-backend 10.1.0.10:8080
    evenkeel instance update web --replace-backend 10.1.0.11:8080=10.1.0.13:8080
    evenkeel instance update web --replace-backend 10.1.0.11:8080=10.1.0.11:8080@5
    evenkeel instance update web --health-check-path /ready --interval 1
    evenkeel instance update web --auto-scaling off
    evenkeel instance update web --auto-scaling 1..8 --target-requests 500 --scale-in-window 600
    evenkeel instance update web --set backend.retry.attempts=1 --set 'allowed-clients=[\"10.0.0.0/8\"]'
    evenkeel instance update web --set timeouts=null
    evenkeel instance update web --new-name www

`--set` takes each setting by its path in the JSON form (docs/reference/json.md); the value is JSON, or else a text.";

pub const INSTANCE_DELETE: &str = "\
Example:
    evenkeel instance delete web --project shop";

pub const SUBNET: &str = "\
Example:
    evenkeel subnet attach 10.1.0.0/24 eth1 --project shop";

pub const SUBNET_ATTACH: &str = "\
Examples:
    evenkeel subnet attach 10.1.0.0/24 eth1 --project shop
    evenkeel subnet attach 10.1.0.0/24 eth1.100 veth7 --project shop

The interface leaves this machine's own network: never attach the one that you are logged in over.";

pub const SUBNET_DETACH: &str = "\
Example:
    evenkeel subnet detach 10.1.0.0/24 eth1 --project shop";

pub const SUBNET_INFO: &str = "\
Examples:
    evenkeel subnet info
    evenkeel subnet info 10.1.0.0/24 --project shop";

pub const LOGS: &str = "\
Examples:
    evenkeel logs web
    evenkeel logs web -f --failed
    evenkeel logs web --since 10m --status 500-599 --backend 10.1.0.10:8080
    evenkeel logs web --request 9f2c4b1d0a7e4c55b1f0e2d3c4a59687 -o json";

pub const EVENTS: &str = "\
Examples:
    evenkeel events web
    evenkeel events -f
    evenkeel events web --kind scaling,added,leaving --since 24h
    evenkeel events --kind asked -n 20 -o json

Kinds: asked, in-effect, condition, backend, added, verdict, set-aside, returned, put-back, leaving, gone, configuration,
dns, scaling, breaker, missing. They are kept for 90 days, at most 10,000 of one instance.";

pub const EXPLAIN: &str = "\
Examples:
    evenkeel explain web
    evenkeel explain web --request 9f2c4b1d0a7e4c55b1f0e2d3c4a59687";

pub const STATUS: &str = "\
Examples:
    evenkeel status
    evenkeel status -o json";

pub const FIGURES: &str = "\
Examples:
    evenkeel figures web
    evenkeel figures web --last 6h --figure latency,answers
    evenkeel figures web --by backend
    evenkeel figures web --last 7d --figure requests -o json

Each second is kept for an hour, ten seconds for a day, five minutes for 90 days. VMs that are gone count for the past.
Figures: requests, errors, answers, latency, first-byte, connections, accepted, waiting, retries, bytes-in, bytes-out,
cpu, memory; of backends requests, errors, latency, connections, health.";

pub const REQUEST: &str = "\
Examples:
    evenkeel request '{\"action\": \"info\", \"type\": \"project\", \"info\": {\"name\": \"shop\"}}'
    evenkeel request - < request.json";
