//! Counts instructions exactly: a module gets a counter, and every stretch of code without a branch adds its length to it.
//!
//! The fuel of wasm runtimes is an upper bound at best, because it charges for a block whether or not a branch leaves it early. Names
//! of blocks and their ends are not counted, since no machine executes them; neither is the counting itself.

use walrus::ir::{BinaryOp, Binop, Const, GlobalGet, GlobalSet, Instr, InstrSeq, InstrSeqId, Value, Visitor};
use walrus::{ConstExpr, GlobalId, InstrLocId, Module, ValType};

/// The exported name of the counter.
pub(super) const COUNTER: &str = "instructions";

/// The module with its counter.
pub(super) fn metered(bytes: &[u8]) -> Vec<u8> {
    let mut module = Module::from_buffer(bytes).expect("the module is valid");
    let zero = ConstExpr::Value(Value::I64(0));
    let counter = module.globals.add_local(ValType::I64, true, false, zero);
    module.exports.add(COUNTER, counter);
    for (_, function) in module.funcs.iter_local_mut() {
        let mut all = Sequences(Vec::new());
        walrus::ir::dfs_in_order(&mut all, function, function.entry_block());
        for id in all.0 {
            let instructions = &mut function.block_mut(id).instrs;
            *instructions = counted(std::mem::take(instructions), counter);
        }
    }
    module.emit_wasm()
}

/// All sequences of a function.
struct Sequences(Vec<InstrSeqId>);

impl<'instr> Visitor<'instr> for Sequences {
    fn start_instr_seq(&mut self, sequence: &'instr InstrSeq) {
        self.0.push(sequence.id());
    }
}

type Located = (Instr, InstrLocId);

/// A sequence with an addition ahead of each stretch that runs as a whole.
fn counted(instructions: Vec<Located>, counter: GlobalId) -> Vec<Located> {
    let mut result = Vec::with_capacity(instructions.len());
    let mut stretch = Vec::new();
    for instruction in instructions {
        let ends = is_branch(&instruction.0);
        stretch.push(instruction);
        if ends {
            close(&mut stretch, counter, &mut result);
        }
    }
    close(&mut stretch, counter, &mut result);
    result
}

fn close(stretch: &mut Vec<Located>, counter: GlobalId, result: &mut Vec<Located>) {
    let length = stretch.iter().filter(|(instruction, _)| is_executed(instruction)).count();
    if length > 0 {
        let value = Value::I64(i64::try_from(length).expect("a short stretch"));
        let add = [
            Instr::GlobalGet(GlobalGet { global: counter }),
            Instr::Const(Const { value }),
            Instr::Binop(Binop { op: BinaryOp::I64Add }),
            Instr::GlobalSet(GlobalSet { global: counter }),
        ];
        result.extend(add.map(|instruction| (instruction, InstrLocId::default())));
    }
    result.append(stretch);
}

/// True if what follows may not run, or runs after something of a length of its own.
fn is_branch(instruction: &Instr) -> bool {
    let has_parts = matches!(instruction, Instr::Block(_) | Instr::Loop(_) | Instr::IfElse(_));
    let leaves = matches!(instruction, Instr::Br(_) | Instr::BrIf(_) | Instr::BrTable(_));
    has_parts || leaves || matches!(instruction, Instr::Return(_) | Instr::Unreachable(_))
}

fn is_executed(instruction: &Instr) -> bool {
    !matches!(instruction, Instr::Block(_) | Instr::Loop(_))
}

#[cfg(test)]
mod tests {
    use walrus::{FunctionBuilder, ModuleConfig};
    use wasmi::{Engine, Linker, Store};

    use super::*;

    /// A function that goes round a loop as often as its argument says.
    fn looping() -> Vec<u8> {
        let mut module = Module::with_config(ModuleConfig::new());
        let times = module.locals.add(ValType::I32);
        let mut function = FunctionBuilder::new(&mut module.types, &[ValType::I32], &[]);
        function.func_body().block(None, |outer| {
            let end = outer.id();
            outer.loop_(None, |body| {
                let start = body.id();
                body.local_get(times).unop(walrus::ir::UnaryOp::I32Eqz).br_if(end);
                body.local_get(times).i32_const(1).binop(BinaryOp::I32Sub).local_set(times).br(start);
            });
        });
        let function = function.finish(vec![times], &mut module.funcs);
        module.exports.add("run", function);
        module.emit_wasm()
    }

    #[test]
    fn a_loop_counts_what_it_executes_and_no_more() {
        let engine = Engine::default();
        let module = wasmi::Module::new(&engine, metered(&looping())).expect("a valid module");
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate_and_start(&mut store, &module).expect("no imports");
        let run = instance.get_typed_func::<i32, ()>(&store, "run").expect("exported");
        let counter = instance.get_global(&store, COUNTER).expect("exported");
        let mut before = 0;
        for times in [0, 1, 10] {
            run.call(&mut store, times).expect("no trap");
            let after = counter.get(&store).i64().expect("a counter of 64 bits");
            // Eight instructions each time round, three of them once more at the end.
            assert_eq!(after - before, i64::from(times) * 8 + 3, "{times} times");
            before = after;
        }
    }
}
