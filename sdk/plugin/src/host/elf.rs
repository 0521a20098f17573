//! A check of an ELF file's headers before the system's loader maps it: a shared library that is
//! shorter than its headers say would kill the process with SIGBUS.

use object::{
    LittleEndian,
    elf::{self, FileHeader64, ProgramHeader64, SectionHeader64},
    pod::{self, Pod},
};

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ElfError {
    NotALibrary(String),
    Truncated { expected: u64 },
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = elf::EM_AARCH64;

const LE: LittleEndian = LittleEndian;

type Header = FileHeader64<LittleEndian>;
type Segment = ProgramHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;

/// Whether `bytes` are a whole 64-bit little-endian shared library for this machine.
pub(super) fn check(bytes: &[u8]) -> Result<(), ElfError> {
    let not_a_library = |reason: &str| Err(ElfError::NotALibrary(reason.to_owned()));
    if bytes.is_empty() {
        return not_a_library("the file is empty");
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return not_a_library("it does not start with the ELF magic number");
    }
    let header: &Header = read(bytes, 0)?;
    if header.e_ident.class != elf::ELFCLASS64 || header.e_ident.data != elf::ELFDATA2LSB {
        return not_a_library("it is not a 64-bit little-endian ELF file");
    }
    if header.e_type.get(LE) != elf::ET_DYN {
        return not_a_library("it is an ELF file, but not a shared library");
    }
    if header.e_machine.get(LE) != MACHINE {
        return not_a_library("it was built for another processor");
    }
    let segments = Table {
        start: header.e_phoff.get(LE),
        entry_size: header.e_phentsize.get(LE).into(),
        num_entries: header.e_phnum.get(LE).into(),
    };
    let sections = Table {
        start: header.e_shoff.get(LE),
        entry_size: header.e_shentsize.get(LE).into(),
        num_entries: header.e_shnum.get(LE).into(),
    };
    if segments.num_entries == 0 || !segments.holds::<Segment>() || !sections.holds::<Section>() {
        return not_a_library("its header tables make no sense");
    }
    segments.check(bytes)?;
    sections.check(bytes)?;
    for offset in segments.offsets() {
        let segment: &Segment = read(bytes, offset)?;
        if segment.p_type.get(LE) == elf::PT_LOAD {
            fits(bytes, segment.p_offset.get(LE), segment.p_filesz.get(LE))?;
        }
    }
    for offset in sections.offsets() {
        let section: &Section = read(bytes, offset)?;
        if !matches!(section.sh_type.get(LE), elf::SHT_NULL | elf::SHT_NOBITS) {
            fits(bytes, section.sh_offset.get(LE), section.sh_size.get(LE))?;
        }
    }
    Ok(())
}

/// Where a file has its program or section headers.
struct Table {
    start: u64,
    entry_size: u64,
    num_entries: u64,
}

impl Table {
    /// Whether its entries, if it has some, are large enough for a header.
    fn holds<T>(&self) -> bool {
        self.num_entries == 0 || self.entry_size >= size_of::<T>() as u64
    }

    fn check(&self, bytes: &[u8]) -> Result<(), ElfError> {
        fits(bytes, self.start, self.entry_size * self.num_entries)
    }

    /// Where each entry begins. The table is inside the file.
    fn offsets(&self) -> impl Iterator<Item = u64> {
        (0..self.num_entries).map(|index| self.start + index * self.entry_size)
    }
}

/// The structure at an offset.
fn read<T: Pod>(bytes: &[u8], offset: u64) -> Result<&T, ElfError> {
    let size = size_of::<T>() as u64;
    fits(bytes, offset, size)?;
    let truncated = |()| ElfError::Truncated {
        expected: offset + size,
    };
    let (value, _) = pod::from_bytes(&bytes[offset as usize..]).map_err(truncated)?;
    Ok(value)
}

fn fits(bytes: &[u8], offset: u64, size: u64) -> Result<(), ElfError> {
    let expected = offset.saturating_add(size);
    match expected > bytes.len() as u64 {
        true => Err(ElfError::Truncated { expected }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file header, one program header that loads `load_size` bytes from the start, and `len`
    /// bytes in all.
    fn library(len: usize, load_size: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&elf::ET_DYN.to_le_bytes());
        bytes[18..20].copy_from_slice(&MACHINE.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&elf::PT_LOAD.to_le_bytes());
        bytes[96..104].copy_from_slice(&load_size.to_le_bytes());
        bytes
    }

    #[test]
    fn headers_decide() {
        let reason = |bytes: &[u8]| match check(bytes) {
            Err(ElfError::NotALibrary(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(check(&library(200, 200)), Ok(()));
        assert_eq!(
            check(&library(200, 201)),
            Err(ElfError::Truncated { expected: 201 })
        );
        assert_eq!(
            check(&library(200, u64::MAX)),
            Err(ElfError::Truncated { expected: u64::MAX })
        );
        assert_eq!(
            check(&library(200, 200)[..100]),
            Err(ElfError::Truncated { expected: 120 })
        );
        assert_eq!(
            check(&library(200, 200)[..20]),
            Err(ElfError::Truncated { expected: 64 })
        );
        assert_eq!(reason(b""), "the file is empty");
        assert_eq!(
            reason(b"\x7fEL"),
            "it does not start with the ELF magic number"
        );
        let mut other = library(200, 200);
        other[18] = 8;
        assert_eq!(reason(&other), "it was built for another processor");
        other[16] = 2;
        assert_eq!(
            reason(&other),
            "it is an ELF file, but not a shared library"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "it reads a file of many megabytes")]
    fn every_prefix_of_this_test_is_refused_without_a_panic() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(check(&whole), Ok(()));
        for len in (0..whole.len()).step_by(whole.len() / 997) {
            assert!(
                check(&whole[..len]).is_err(),
                "{len} of {} bytes",
                whole.len()
            );
        }
    }
}
