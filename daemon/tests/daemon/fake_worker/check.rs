//! `check`: the mistakes of a plan, and what a run of it would need.

use std::time::Duration;

use evopress_spec::{Delivered, SequenceStart};
use evopressd::worker_process::{CheckReply, Needs, Pointed};

use crate::behaviour::Behaviour;
use crate::die_of_segmentation_fault;

pub(crate) fn check(behaviour: Behaviour) {
    let reply = match behaviour {
        Behaviour::CheckSegv => {
            eprintln!("loading libevopress_bad.so");
            die_of_segmentation_fault();
        }
        Behaviour::CheckHang => {
            std::thread::sleep(Duration::from_secs(600));
            return;
        }
        Behaviour::CheckNonsense => {
            println!("no JSON");
            return;
        }
        Behaviour::CheckMistake => CheckReply {
            mistakes: vec![Pointed {
                pointer: "/methods/0/options/granularity".to_owned(),
                message: "granularity is \"atom\", expected sub-block or block".to_owned(),
            }],
            ..CheckReply::default()
        },
        _ => CheckReply {
            mistakes: Vec::new(),
            sequences: vec![SequenceStart {
                text: "calibration".to_owned(),
                bos: true,
                said_by: "tokenizer.json".to_owned(),
            }],
            warnings: Vec::new(),
            delivered: Some(Delivered {
                method: "gptq".to_owned(),
                types: vec!["4-bit".to_owned()],
                size_bytes: 90_000_000,
            }),
            needs: Some(Needs {
                least_bytes: None,
                granted_bytes: None,
                granted_by: None,
                seconds: Some(90.0),
                memory_bytes: Some(800_000_000),
                device_memory_bytes: None,
                disk_bytes: Some(500_000_000),
            }),
        },
    };
    println!("{}", serde_json::to_string(&reply).unwrap());
}
