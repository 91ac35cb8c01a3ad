//! nginx at its best: as many workers as cores, kept connections to the origin, no access log, nothing on disk.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use super::{Mode, Plan};

/// Where Debian's package `libnginx-mod-stream` puts it.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Requests on one connection before it is closed: more than there will be.
const MANY: u32 = 2_000_000_000;

/// Writes its configuration and returns how it is started.
pub fn command(plan: &Plan) -> Result<Command> {
    let path = plan.directory.join("nginx.conf");
    std::fs::write(&path, config(plan)?)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(path).arg("-p").arg(plan.directory);
    command.args(["-e", "stderr"]);
    Ok(command)
}

fn config(plan: &Plan) -> Result<String> {
    // A proxied request takes two; the rest is room for the checks of the machine's limits.
    let workers = plan.shape.threads;
    let slots = plan.connections + 1_000;
    let mut servers = String::new();
    for backend in &plan.backends {
        writeln!(servers, "    server {backend} max_fails=0;")?;
    }
    let (module, traffic) = match plan.shape.mode {
        Mode::Http => (String::new(), http(plan, &servers)),
        Mode::Tcp => (
            format!("load_module {STREAM_MODULE};\n"),
            stream(plan, &servers),
        ),
    };
    Ok(format!(
        "{module}daemon off;\nuser root;\nworker_processes {workers};\npid nginx.pid;\nerror_log stderr error;\n\
         events {{\n  worker_connections {slots};\n  multi_accept on;\n}}\n{traffic}"
    ))
}

/// Has each worker a listening socket of its own, where there are several.
fn shared(plan: &Plan) -> &'static str {
    if plan.shape.threads > 1 {
        " reuseport"
    } else {
        ""
    }
}

/// 96 KiB is the largest first buffer that the C library does not map anew for each request; with all these
/// sizes 64 KiB cost 6 % less than with half of them, and 10 MiB 4 %.
fn http(plan: &Plan, servers: &str) -> String {
    let (front, shared) = (plan.front, shared(plan));
    format!(
        "http {{
  access_log off;
  server_tokens off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests {MANY};
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream origin {{
{servers}    keepalive 512;
    keepalive_requests {MANY};
    keepalive_timeout 300s;
  }}
  server {{
    listen {front} backlog=4096{shared};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffer_size 96k;
      proxy_buffers 8 128k;
      proxy_busy_buffers_size 256k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"
    )
}

/// Against buffers of 64 KiB, 10 MiB cost a quarter less, and a new connection 2 % more.
fn stream(plan: &Plan, servers: &str) -> String {
    let (front, shared) = (plan.front, shared(plan));
    format!(
        "stream {{
  access_log off;
  upstream origin {{
{servers}  }}
  server {{
    listen {front} backlog=4096{shared};
    tcp_nodelay on;
    proxy_pass origin;
    proxy_buffer_size 256k;
  }}
}}
"
    )
}
