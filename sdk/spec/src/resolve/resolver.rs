//! What every step of resolving needs: where paths begin, and where mistakes go.

use std::path::PathBuf;

use super::lookup::{self, Wanted};
use crate::mistake::Fault;
use crate::roots::Roots;
use crate::structure::Tainted;
use crate::tree::Tree;

/// Where paths begin and where mistakes go.
pub(crate) struct Resolver<'a> {
    roots: &'a Roots,
    tree: &'a Tree,
    tainted: &'a Tainted,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        roots: &'a Roots,
        tree: &'a Tree,
        tainted: &'a Tainted,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        Resolver {
            roots,
            tree,
            tainted,
            faults,
        }
    }

    /// Reports a mistake at the first of the places that it follows from, unless one of them is a
    /// mistake already.
    pub(crate) fn fault(&mut self, pointers: &[&str], message: &str) {
        let known = |pointer: &&str| self.tainted.touches(pointer);
        if let Some(at) = pointers.first().filter(|_| !pointers.iter().any(known)) {
            self.faults
                .push(Fault::new(self.tree.value_at(at), at, message));
        }
    }

    /// Reports a mistake at the key of a field, unless it, or what it is `about`, is a mistake
    /// already.
    pub(crate) fn fault_at_key(&mut self, about: &str, at: &str, message: &str) {
        if !self.tainted.holds(about) && !self.tainted.holds(at) {
            self.faults
                .push(Fault::new(self.tree.key_at(at), at, message));
        }
    }

    /// A path relative to the spec's folder; nothing needs to be there yet.
    pub(crate) fn beside_spec(&self, typed: &str) -> PathBuf {
        let path = self.roots.spec_dir.join(typed);
        std::path::absolute(&path).unwrap_or(path)
    }

    pub(super) fn find(&mut self, pointer: &str, typed: &str, wanted: Wanted) -> PathBuf {
        lookup::find(typed, wanted, self.roots).unwrap_or_else(|message| {
            self.fault(&[pointer], &message);
            PathBuf::from(typed)
        })
    }
}
