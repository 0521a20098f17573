//! A thread that starts all children and lives as long as the process.
//!
//! A worker asks the kernel to be killed with its parent, and to the kernel the parent is the
//! *thread* that started it. Threads of an async runtime come and go, so children are started from
//! one that stays.

use std::io;
use std::thread;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

type Order = (Command, Handle, oneshot::Sender<io::Result<Child>>);

#[derive(Debug)]
pub(super) struct Spawner {
    orders: mpsc::UnboundedSender<Order>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (orders, mut incoming) = mpsc::unbounded_channel::<Order>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                while let Some((mut command, runtime, reply)) = incoming.blocking_recv() {
                    let _inside = runtime.enter();
                    // Whoever asked may have gone; the child is then dropped and, where it should
                    // be, killed.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { orders })
    }

    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        die_with_parent(&mut command, getpid());
        let gone = || io::Error::other("the thread that starts workers has ended");
        let (reply, answer) = oneshot::channel();
        self.orders
            .send((command, Handle::current(), reply))
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn die_with_parent(command: &mut Command, parent: Pid) {
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the request was made.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec the hook makes two system calls (prctl, getppid) and neither
    // allocates nor locks.
    unsafe { command.pre_exec(hook) };
}
