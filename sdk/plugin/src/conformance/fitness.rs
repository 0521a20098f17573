//! Rules for fitnesses.

use half::bf16;
use serde_json::{Value, json};

use super::failing_head::{FAILURE, FailingHead};
use super::{Findings, Library, ReferenceHead, random_values};
use crate::{Chunk, Fitness, HeadOps, PluginError, Target, TargetView, TensorView};

/// What to try a fitness with.
#[derive(Debug, Clone)]
pub struct FitnessSuite {
    /// Options that it takes.
    pub options: Vec<Value>,
    /// Options that it must refuse, beside unknown ones.
    pub bad_options: Vec<Value>,
}

impl Default for FitnessSuite {
    /// No options.
    fn default() -> Self {
        FitnessSuite {
            options: vec![json!({})],
            bad_options: Vec::new(),
        }
    }
}

const NUM_TOKENS: usize = 12;
const HIDDEN_SIZE: usize = 8;
const VOCAB_SIZE: usize = 37;
/// Where the chunk is cut for the check that cuts do not matter.
const CUT: usize = 5;
/// Sums of a few values in f32 may be taken in another order.
const TOLERANCE: f32 = 1e-5;
/// To either side of a hidden state, for the slope of a loss.
const STEP: f32 = 1e-2;
/// Of a slope, whose losses are in f32.
const GRADIENT_TOLERANCE: f32 = 1e-2;

/// Which rules a fitness breaks: losses are finite, one a token, the same the second time, and do
/// not depend on where chunks are cut; hidden states may be bf16; a gradient, where there is one,
/// is that of the loss; shapes that do not fit and failures of the host come back as errors, not as
/// panics or numbers; bad options are refused.
pub fn check_fitness(library: &Library, suite: &FitnessSuite) -> Findings {
    let mut findings = Findings::default();
    library.check_options_refused(&mut findings, &suite.bad_options);
    for options in &suite.options {
        match library.fitness(options) {
            Ok(fitness) => {
                let mut check = Check {
                    findings: &mut findings,
                    fitness: fitness.as_ref(),
                    place: format!("options {options}"),
                };
                check.losses();
                check.gradient();
                check.wrong_shapes();
                check.failing_host();
            }
            Err(error) => findings.add(format!("the options {options} are refused: {error}")),
        }
    }
    findings
}

struct Check<'a> {
    findings: &'a mut Findings,
    fitness: &'a dyn Fitness,
    place: String,
}

impl Check<'_> {
    fn losses(&mut self) {
        let head = ReferenceHead::random(VOCAB_SIZE, HIDDEN_SIZE, 1);
        let sample = Sample::new();
        let Some(whole) = self.run(&head, &sample, 0..NUM_TOKENS) else {
            return;
        };
        for (token, loss) in whole.iter().enumerate() {
            self.require(loss.is_finite(), || {
                format!("the loss of token {token} is {loss}")
            });
        }
        if let Some(again) = self.run(&head, &sample, 0..NUM_TOKENS) {
            let is_same = whole
                .iter()
                .zip(&again)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            self.require(is_same, || {
                format!("other losses the second time: {whole:?} and {again:?}")
            });
        }
        let (Some(first), Some(second)) = (
            self.run(&head, &sample, 0..CUT),
            self.run(&head, &sample, CUT..NUM_TOKENS),
        ) else {
            return;
        };
        for (token, (loss, cut)) in whole.iter().zip(first.iter().chain(&second)).enumerate() {
            let is_near = (loss - cut).abs() <= TOLERANCE * loss.abs().max(1.0);
            self.require(is_near, || {
                format!("token {token} loses {loss} in one chunk and {cut} in two")
            });
        }
        self.half_precision(&head, &sample);
    }

    /// The losses of a range of the sample's tokens, with the target of the same range.
    fn run(
        &mut self,
        head: &ReferenceHead,
        sample: &Sample,
        tokens: std::ops::Range<usize>,
    ) -> Option<Vec<f32>> {
        let num_tokens = tokens.len();
        let (dense, student) = (sample.dense(tokens.clone()), sample.student(tokens));
        let losses = self
            .target(head, &dense)
            .and_then(|target| self.fitness.loss(head, &student, &target.view()));
        match losses {
            Ok(losses) if losses.len() == num_tokens => Some(losses),
            Ok(losses) => self.fail(format!("{} losses for {num_tokens} tokens", losses.len())),
            Err(error) => self.fail(error.message),
        }
    }

    fn target(&self, head: &dyn HeadOps, dense: &Chunk<'_>) -> Result<Target, PluginError> {
        if self.fitness.needs_target() {
            self.fitness.target(head, dense)
        } else {
            Ok(Target::default())
        }
    }

    fn half_precision(&mut self, head: &ReferenceHead, sample: &Sample) {
        let halves: Vec<bf16> = sample
            .student
            .iter()
            .map(|value| bf16::from_f32(*value))
            .collect();
        let student = sample.chunk(&halves, 0..NUM_TOKENS);
        let losses = self
            .target(head, &sample.dense(0..NUM_TOKENS))
            .and_then(|target| self.fitness.loss(head, &student, &target.view()));
        if let Err(error) = losses {
            self.findings.add(format!(
                "{}: hidden states in bf16 are refused: {error}",
                self.place
            ));
        }
    }

    /// A gradient agrees with the losses a small step to both sides of each number.
    fn gradient(&mut self) {
        let head = ReferenceHead::random(VOCAB_SIZE, HIDDEN_SIZE, 1);
        // The last token has none after it.
        let tokens = 0..NUM_TOKENS - 1;
        let sample = Sample::new();
        let student = sample.student(tokens.clone());
        let Ok(target) = self.target(&head, &sample.dense(tokens.clone())) else {
            return; // `losses` has said why
        };
        let gradient = || -> Result<Option<Vec<f32>>, PluginError> {
            let expected = head.expectation(&student.hidden)?.summary;
            let (target, expected) = (target.view(), expected.view());
            let gradient = self.fitness.gradient(&head, &student, &target, &expected)?;
            let numbers = gradient.map(|gradient| gradient.view().to_f32_vec());
            Ok(numbers.transpose()?)
        };
        let gradient = match gradient() {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                self.fail::<()>(format!("no gradient: {error}"));
                return;
            }
        };
        for column in 0..HIDDEN_SIZE {
            let stepped = |step: f32| {
                let mut moved = sample.student.clone();
                let numbers = moved.iter_mut().skip(column).step_by(HIDDEN_SIZE);
                numbers.for_each(|number| *number += step);
                let student = sample.chunk(&moved, tokens.clone());
                self.fitness.loss(&head, &student, &target.view())
            };
            let (Ok(above), Ok(below)) = (stepped(STEP), stepped(-STEP)) else {
                return; // `losses` has said why
            };
            for token in tokens.clone() {
                let slope = (above[token] - below[token]) / (2.0 * STEP);
                let found = gradient[token * HIDDEN_SIZE + column];
                let is_near = (found - slope).abs() <= GRADIENT_TOLERANCE * slope.abs().max(1.0);
                self.require(is_near, || {
                    format!(
                        "the gradient of token {token} in column {column} is {found}, and its losses rise by {slope}"
                    )
                });
            }
        }
    }

    fn wrong_shapes(&mut self) {
        let head = ReferenceHead::random(VOCAB_SIZE, HIDDEN_SIZE, 1);
        let sample = Sample::new();
        let good = sample.student(0..NUM_TOKENS);
        let Ok(target) = self.target(&head, &sample.dense(0..NUM_TOKENS)) else {
            return;
        };
        let view = |shape: &[i64]| TensorView::from_slice(&sample.student, shape);
        let (num_tokens, hidden_size) = (NUM_TOKENS as i64, HIDDEN_SIZE as i64);
        let shapes: [(&str, &[i64]); 3] = [
            ("hidden states without rows", &[num_tokens * hidden_size]),
            (
                "hidden states of another size",
                &[num_tokens * 2, hidden_size / 2],
            ),
            (
                "hidden states with a third dimension",
                &[num_tokens, hidden_size / 2, 2],
            ),
        ];
        for (what, shape) in shapes {
            if let Ok(hidden) = view(shape) {
                let student = Chunk { hidden, ..good };
                self.refuses(what, self.fitness.loss(&head, &student, &target.view()));
            }
        }
        let student = Chunk {
            next_tokens: &good.next_tokens[1..],
            ..good
        };
        self.refuses(
            "fewer tokens than hidden states",
            self.fitness.loss(&head, &student, &target.view()),
        );
        if self.fitness.needs_target() {
            self.refuses(
                "an empty target",
                self.fitness.loss(&head, &good, &TargetView::default()),
            );
            let short = target.view();
            let short = TargetView {
                scalars: short.scalars.iter().map(|scalars| &scalars[1..]).collect(),
                vectors: short
                    .vectors
                    .iter()
                    .filter_map(|vector| vector.rows(1, NUM_TOKENS).ok())
                    .collect(),
            };
            self.refuses(
                "a target with fewer rows",
                self.fitness.loss(&head, &good, &short),
            );
        }
    }

    /// When an operation of the host fails, its message comes back.
    fn failing_host(&mut self) {
        let head = ReferenceHead::random(VOCAB_SIZE, HIDDEN_SIZE, 1);
        let sample = Sample::new();
        let student = sample.student(0..NUM_TOKENS);
        let Ok(target) = self.target(&head, &sample.dense(0..NUM_TOKENS)) else {
            return;
        };
        match self.fitness.loss(&FailingHead, &student, &target.view()) {
            // A fitness may do without the host.
            Ok(losses) => {
                let usual = self.fitness.loss(&head, &student, &target.view());
                self.require(usual.as_ref() == Ok(&losses), || {
                    "an operation of the host fails, and the losses are other ones instead of an error".to_owned()
                });
            }
            Err(error) => self.require(error.message.contains(FAILURE), || {
                format!("the host's message `{FAILURE}` is lost; what comes back is `{error}`")
            }),
        }
    }

    fn refuses<T>(&mut self, what: &str, result: Result<T, PluginError>) {
        match result {
            Ok(_) => self
                .findings
                .add(format!("{}: {what} are accepted", self.place)),
            Err(error) => self.require(!error.message.contains(" panicked: "), || {
                format!("{what}: {error}")
            }),
        }
    }

    fn require(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        let place = &self.place;
        self.findings
            .require(holds, || format!("{place}: {}", finding()));
    }

    fn fail<T>(&mut self, finding: String) -> Option<T> {
        self.require(false, || finding);
        None
    }
}

/// Hidden states of a dense model and of a student near it, and next tokens, the last of which is
/// missing.
struct Sample {
    dense: Vec<f32>,
    student: Vec<f32>,
    next_tokens: Vec<i64>,
}

impl Sample {
    fn new() -> Self {
        let count = NUM_TOKENS * HIDDEN_SIZE;
        let dense = random_values(count, 2);
        let student = dense
            .iter()
            .zip(random_values(count, 3))
            .map(|(dense, noise)| dense + 0.3 * noise)
            .collect();
        let mut next_tokens: Vec<i64> = (0..NUM_TOKENS)
            .map(|token| (token * 7 % VOCAB_SIZE) as i64)
            .collect();
        next_tokens[NUM_TOKENS - 1] = -1;
        Sample {
            dense,
            student,
            next_tokens,
        }
    }

    fn dense(&self, tokens: std::ops::Range<usize>) -> Chunk<'_> {
        self.chunk(&self.dense, tokens)
    }

    fn student(&self, tokens: std::ops::Range<usize>) -> Chunk<'_> {
        self.chunk(&self.student, tokens)
    }

    fn chunk<'a, T: crate::Element>(
        &'a self,
        values: &'a [T],
        tokens: std::ops::Range<usize>,
    ) -> Chunk<'a> {
        let rows = &values[tokens.start * HIDDEN_SIZE..tokens.end * HIDDEN_SIZE];
        let hidden = TensorView::from_slice(rows, &[tokens.len() as i64, HIDDEN_SIZE as i64]);
        let hidden = hidden.expect("the rows have this shape");
        Chunk {
            hidden,
            next_tokens: &self.next_tokens[tokens],
        }
    }
}
