//! A proxy that drops the connection once, in the middle of an answer, and accepts none until it is
//! repaired.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The line.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    is_dead: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// A line to a port of this machine, which breaks after `limit` bytes of answers.
    pub(crate) fn new(port: u16, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            is_dead: Arc::default(),
            asked: Arc::default(),
        };
        let line = proxy.clone();
        std::thread::spawn(move || {
            let left = Arc::new(Mutex::new(Some(limit)));
            for client in listener.incoming() {
                if line.is_dead.load(Ordering::SeqCst) {
                    continue;
                }
                let (client, server) = (
                    client.unwrap(),
                    TcpStream::connect(("127.0.0.1", port)).unwrap(),
                );
                line.carry(&client, &server, &left);
            }
        });
        proxy
    }

    /// All that was asked so far, in lower case.
    pub(crate) fn asked(&self) -> String {
        String::from_utf8_lossy(&self.asked.lock().unwrap()).to_lowercase()
    }

    pub(crate) fn mend(&self) {
        self.is_dead.store(false, Ordering::SeqCst);
    }

    fn carry(&self, client: &TcpStream, server: &TcpStream, left: &Arc<Mutex<Option<usize>>>) {
        let ends = || (client.try_clone().unwrap(), server.try_clone().unwrap());
        let ((mut from, mut to), asked) = (ends(), self.asked.clone());
        std::thread::spawn(move || {
            each_piece(&mut from, |piece| {
                asked.lock().unwrap().extend_from_slice(piece);
                to.write_all(piece).is_ok()
            });
            let _ = to.shutdown(Shutdown::Both);
        });
        let ((mut to, mut from), is_dead, left) = (ends(), self.is_dead.clone(), left.clone());
        std::thread::spawn(move || {
            each_piece(&mut from, |piece| {
                let mut left = left.lock().unwrap();
                match left.as_mut() {
                    Some(bytes) if *bytes < piece.len() => {
                        *left = None;
                        is_dead.store(true, Ordering::SeqCst);
                        return false;
                    }
                    Some(bytes) => *bytes -= piece.len(),
                    None => {}
                }
                to.write_all(piece).is_ok()
            });
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn each_piece(from: &mut TcpStream, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || !take(&buffer[..count]) {
            return;
        }
    }
}
