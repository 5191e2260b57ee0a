//! A disk in memory that can crash at every call: 512-byte sectors are written back in any order or not at all, renames
//! survive or do not, a failed sync loses what it should have kept.

use super::Draw;
use lattice_storage::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Writes that no sync has covered, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

/// A change of names that takes effect whole: what each stands for afterwards.
type NameChange = Vec<(PathBuf, Option<usize>)>;

/// All that a disk is at one moment.
#[derive(Clone, Default)]
pub struct DiskState {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
}

impl DiskState {
    /// What is left after the machine has crashed.
    pub fn crashed(&self, draw: &mut Draw) -> DiskState {
        let mut left = DiskState { durable_names: self.durable_names.clone(), ..DiskState::default() };
        let in_order = draw.below(2) == 0;
        let kept = draw.below(self.pending_names.len() as u64 + 1) as usize;
        for (i, change) in self.pending_names.iter().enumerate() {
            if if in_order { i < kept } else { draw.below(2) == 0 } {
                apply(&mut left.durable_names, change);
            }
        }
        left.names = left.durable_names.clone();
        let keep_all = draw.below(8) == 0;
        left.files = self.files.iter().map(|file| file.crashed(draw, keep_all)).collect();
        left
    }

    /// What a process finds after the one before it was killed.
    pub fn killed(&self) -> DiskState {
        self.clone()
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.names.keys().cloned().collect()
    }

    /// The bytes of a file, to be damaged.
    pub fn bytes_mut(&mut self, path: &Path) -> Option<&mut Vec<u8>> {
        let file = &mut self.files[*self.names.get(path)?];
        file.pending.clear();
        file.durable.clone_from(&file.current);
        Some(&mut file.current)
    }

    pub fn remove(&mut self, path: &Path) {
        self.names.remove(path);
        self.durable_names.remove(path);
    }
}

impl FileState {
    fn crashed(&self, draw: &mut Draw, keep_all: bool) -> FileState {
        let len = match draw.below(3) {
            _ if keep_all => self.current.len(),
            0 => self.durable.len(),
            1 => self.current.len(),
            _ => {
                let (short, long) = (self.durable.len(), self.current.len());
                short.min(long) + draw.below((long.abs_diff(short) + 1) as u64) as usize
            }
        };
        let mut bytes = self.durable.clone();
        bytes.resize(self.current.len().max(bytes.len()), 0);
        for sector in 0..bytes.len().div_ceil(SECTOR) {
            let (begin, end) = (sector * SECTOR, bytes.len().min((sector + 1) * SECTOR));
            let touching: Vec<_> =
                self.pending.iter().filter(|(at, written)| *at < end && at + written.len() > begin).collect();
            let kept = if keep_all { touching.len() } else { draw.below(touching.len() as u64 + 1) as usize };
            for (at, written) in &touching[..kept] {
                let (from, to) = (begin.max(*at), end.min(at + written.len()));
                bytes[from..to].copy_from_slice(&written[from - at..to - at]);
            }
        }
        bytes.truncate(len);
        FileState { current: bytes.clone(), durable: bytes, pending: Vec::new() }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    for (path, file) in change {
        match file {
            Some(file) => names.insert(path.clone(), *file),
            None => names.remove(path),
        };
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This call, and no other, fails; a sync then loses what it should have kept, and the next one will say that all is
    /// well.
    Once(u64),
    /// From this call on there is no room for new files or longer ones.
    FullFrom(u64),
}

#[derive(Default)]
struct Inner {
    state: DiskState,
    calls: u64,
    fault: Option<Fault>,
}

type BeforeCall = Box<dyn FnMut(&DiskState) + Send>;

/// See the module's documentation.
#[derive(Clone, Default)]
pub struct CrashDisk {
    inner: Arc<Mutex<Inner>>,
    before: Arc<Mutex<Option<BeforeCall>>>,
}

impl CrashDisk {
    pub fn with(state: DiskState) -> Self {
        let disk = Self::default();
        disk.inner.lock().unwrap().state = state;
        disk
    }

    /// Called with the disk as it is before each call that changes something.
    pub fn before_each(&self, before: impl FnMut(&DiskState) + Send + 'static) {
        *self.before.lock().unwrap() = Some(Box::new(before));
    }

    pub fn stop_watching(&self) {
        *self.before.lock().unwrap() = None;
    }

    pub fn state(&self) -> DiskState {
        self.inner.lock().unwrap().state.clone()
    }

    pub fn calls(&self) -> u64 {
        self.inner.lock().unwrap().calls
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.inner.lock().unwrap().fault = fault;
    }

    fn change<T>(
        &self,
        grows: bool,
        act: impl FnOnce(&mut DiskState, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(before) = &mut *self.before.lock().unwrap() {
            before(&self.inner.lock().unwrap().state);
        }
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        let fails = match inner.fault {
            Some(Fault::Once(call)) => inner.calls == call,
            Some(Fault::FullFrom(call)) if grows && inner.calls >= call => {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            _ => false,
        };
        act(&mut inner.state, fails)
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken (test)")
}

impl Disk for CrashDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let number = self.inner.lock().unwrap().state.names.get(path).copied();
        let number = number.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(CrashFile { disk: self.clone(), number }))
    }

    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let number = self.change(true, |state, fails| {
            if fails {
                return Err(broken());
            }
            let number = state.files.len();
            state.files.push(FileState { current: vec![0; reserve_bytes as usize], ..FileState::default() });
            let change = vec![(path.to_owned(), Some(number))];
            apply(&mut state.names, &change);
            state.pending_names.push(change);
            Ok(number)
        })?;
        Ok(Box::new(CrashFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(false, |state, fails| {
            let number = *state.names.get(from).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
            if fails {
                return Err(broken());
            }
            let change = vec![(from.to_owned(), None), (to.to_owned(), Some(number))];
            apply(&mut state.names, &change);
            state.pending_names.push(change);
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(false, |state, fails| {
            if fails {
                return Err(broken());
            }
            let DiskState { pending_names, durable_names, .. } = state;
            pending_names.retain(|change| {
                let here = change.iter().all(|(name, _)| name.parent() == Some(path));
                if here {
                    apply(durable_names, change);
                }
                !here
            });
            Ok(())
        })
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        // Directories are not modelled: the one that is made is synced before anything is put into it.
        Ok(())
    }
}

struct CrashFile {
    disk: CrashDisk,
    number: usize,
}

impl DiskFile for CrashFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let inner = self.disk.inner.lock().unwrap();
        let begin = offset as usize;
        let bytes = inner.state.files[self.number].current.get(begin..begin + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (begin, end) = (offset as usize, offset as usize + bytes.len());
        let grows = end > self.disk.inner.lock().unwrap().state.files[self.number].current.len();
        self.disk.change(grows, |state, fails| {
            if fails {
                return Err(broken());
            }
            let file = &mut state.files[self.number];
            if file.current.len() < end {
                file.current.resize(end, 0);
            }
            file.current[begin..end].copy_from_slice(bytes);
            file.pending.push((begin, bytes.to_vec()));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(false, |state, fails| {
            let file = &mut state.files[self.number];
            if fails {
                // What the next sync is not going to write either.
                file.pending.clear();
                return Err(broken());
            }
            // Lost pages stay lost: only what is pending is written back.
            file.durable.resize(file.current.len(), 0);
            for (at, written) in std::mem::take(&mut file.pending) {
                file.durable[at..at + written.len()].copy_from_slice(&written);
            }
            Ok(())
        })
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.inner.lock().unwrap().state.files[self.number].current.len() as u64)
    }
}
