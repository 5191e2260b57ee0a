//! The loaded program, not attached anywhere: its settings and its maps.
//!
//! The skeleton lives only while the program is loaded. What stays are file descriptors: they can move between threads,
//! borrow nothing, and the kernel frees what they stand for when the last one is closed.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle, libbpf_sys};

use crate::limits::MAX_SOURCES;
use crate::reasons::DROP_REASONS;
use crate::{Config, XdpError, mapped};

/// Generated from the compiled program by libbpf-cargo.
mod skeleton {
    // Reason: generated code, not written to this project's rules.
    #![allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
    include!(concat!(env!("OUT_DIR"), "/latticed.skel.rs"));
}

/// What the program decides about a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// To the kernel, untouched.
    Pass,
    /// Dropped; a counter says why.
    Drop,
    /// To the AF_XDP socket of the receive queue.
    Redirect,
    /// Anything else; the program never says so.
    Other(u32),
}

/// The program, loaded with its settings.
pub struct Filter {
    pub(crate) program: OwnedFd,
    pub(crate) sockets: MapHandle,
    sources: MapHandle,
    drops: MapHandle,
}

impl Filter {
    /// Loads the program with `config` and fills its list of sources.
    ///
    /// # Errors
    /// [`XdpError::Config`], [`XdpError::Load`] (no rights, mostly) or [`XdpError::Map`]; nothing stays loaded.
    pub fn load(config: &Config) -> Result<Filter, XdpError> {
        check(config)?;
        // libbpf prints its own idea of each error to standard error; the daemon reports what it returns.
        let printed = libbpf_rs::set_print(None);
        let filter = Filter::load_quietly(config);
        libbpf_rs::set_print(printed);
        filter
    }

    fn load_quietly(config: &Config) -> Result<Filter, XdpError> {
        let mut object = MaybeUninit::uninit();
        let mut open = skeleton::LatticedSkelBuilder::default().open(&mut object).map_err(XdpError::Load)?;
        let Some(settings) = open.maps.rodata_data.as_deref_mut() else {
            return Err(XdpError::Config("the compiled program has no settings"));
        };
        settings.cluster_tag = config.cluster_tag;
        settings.port_base = config.port_base;
        settings.port_count = config.port_count;
        settings.control_port = config.control_port.unwrap_or(0);
        settings.local_address.words = address_words(config.local);
        let loaded = open.load().map_err(XdpError::Load)?;

        for source in &config.sources {
            loaded
                .maps
                .sources
                .update(&mapped(*source), &[1], MapFlags::ANY)
                .map_err(|source| XdpError::Map { operation: "letting a source in", source })?;
        }
        let handle = |map: &libbpf_rs::MapMut<'_>| {
            MapHandle::try_from(map)
                .map_err(|source| XdpError::Map { operation: "keeping a map open", source })
        };
        let program = loaded.progs.latticed.as_fd().try_clone_to_owned();
        Ok(Filter {
            program: program.map_err(|source| XdpError::Load(source.into()))?,
            sockets: handle(&loaded.maps.sockets)?,
            sources: handle(&loaded.maps.sources)?,
            drops: handle(&loaded.maps.drops)?,
        })
    }

    /// Runs the program over one packet in the kernel, without a network (BPF_PROG_TEST_RUN); it arrives on queue 0.
    ///
    /// # Errors
    /// [`XdpError::TestRun`].
    pub fn test_run(&self, packet: &[u8]) -> Result<Verdict, XdpError> {
        let length =
            u32::try_from(packet.len()).map_err(|_| XdpError::Config("a test packet is below 4 GiB"))?;
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
            data_in: packet.as_ptr().cast(),
            data_size_in: length,
            repeat: 1,
            ..Default::default()
        };
        // SAFETY: the descriptor is a program's; `options` says its own size, and `data_in` and `data_size_in`
        // describe `packet`, which outlives the call and is only read.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(self.program.as_raw_fd(), &mut options) };
        if result < 0 {
            return Err(XdpError::TestRun(io::Error::from_raw_os_error(-result)));
        }
        Ok(match options.retval {
            libbpf_sys::XDP_PASS => Verdict::Pass,
            libbpf_sys::XDP_DROP => Verdict::Drop,
            libbpf_sys::XDP_REDIRECT => Verdict::Redirect,
            other => Verdict::Other(other),
        })
    }

    /// Sends the cluster's frames that arrive on `queue` to an AF_XDP socket. Until then they are dropped as `no_socket`.
    /// The entry goes away when the socket is closed.
    ///
    /// # Errors
    /// [`XdpError::Map`]: the queue is beyond [`crate::MAX_QUEUES`], or it is no AF_XDP socket. The queue keeps what it had.
    pub fn register_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.sockets.update(&queue.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes(), MapFlags::ANY).map_err(
            |source| XdpError::Map { operation: "entering an AF_XDP socket in the program's map", source },
        )
    }

    /// Lets a source in from now on.
    ///
    /// # Errors
    /// [`XdpError::Map`]: there are [`MAX_SOURCES`] already. Nothing was changed.
    pub fn let_in(&self, source: IpAddr) -> Result<(), XdpError> {
        self.sources
            .update(&mapped(source), &[1], MapFlags::ANY)
            .map_err(|source| XdpError::Map { operation: "letting a source in", source })
    }

    /// Lets a source in no more. One that was not let in stays out.
    ///
    /// # Errors
    /// [`XdpError::Map`]; nothing was changed.
    pub fn keep_out(&self, source: IpAddr) -> Result<(), XdpError> {
        match self.sources.delete(&mapped(source)) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                Err(XdpError::Map { operation: "keeping a source out", source: error })
            }
            _ => Ok(()),
        }
    }

    /// Drops so far by reason, in the order of [`DROP_REASONS`], each summed over the CPUs.
    ///
    /// # Errors
    /// [`XdpError::Map`].
    pub fn drop_counters(&self) -> Result<Vec<(&'static str, u64)>, XdpError> {
        let mut counters = Vec::with_capacity(DROP_REASONS.len());
        for (index, name) in (0u32..).zip(DROP_REASONS) {
            let per_cpu = self
                .drops
                .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
                .map_err(|source| XdpError::Map { operation: "reading a drop counter", source })?;
            let sum = per_cpu
                .iter()
                .flatten()
                .filter_map(|value| value.as_slice().try_into().ok())
                .map(u64::from_ne_bytes)
                .fold(0, u64::wrapping_add);
            counters.push((name, sum));
        }
        Ok(counters)
    }
}

fn check(config: &Config) -> Result<(), XdpError> {
    if config.port_count == 0 {
        return Err(XdpError::Config("the range of UDP ports is empty"));
    }
    if u32::from(config.port_base) + u32::from(config.port_count) > 1 << 16 {
        return Err(XdpError::Config("the range of UDP ports goes beyond 65535"));
    }
    if config.sources.len() > MAX_SOURCES {
        return Err(XdpError::Config("more sources than the program's list holds"));
    }
    Ok(())
}

/// The address as the four words that the C side compares: the bytes stay in network order.
fn address_words(address: IpAddr) -> [u32; 4] {
    let bytes = mapped(address);
    std::array::from_fn(|word| {
        u32::from_ne_bytes([bytes[4 * word], bytes[4 * word + 1], bytes[4 * word + 2], bytes[4 * word + 3]])
    })
}
