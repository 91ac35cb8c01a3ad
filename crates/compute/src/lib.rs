//! VMs: QEMU microVMs and namespaced processes, their image and control channel.
