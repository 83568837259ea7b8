"""What a training holds at its fullest moments: at the end of the forward pass, in the backward pass, in the step."""

from __future__ import annotations

from notus_exp.config.batches import plan_batches
from notus_exp.config.dpo_checks import ALL_LINEAR
from notus_exp.config.hardware_settings import Hardware
from notus_exp.config.training_settings import DPO, QUANTISATIONS
from notus_exp.models.shapes import Shape
from notus_exp.run.memory import activations, logits, optimisers
from notus_exp.run.memory.activations import Pass
from notus_exp.run.memory.allocator import kept_activations, kept_gradients
from notus_exp.run.memory.host_needs import training_host
from notus_exp.run.memory.need import Need
from notus_exp.run.memory.number_sizes import FLOAT32, base_bytes, numbers_of
from notus_exp.run.memory.process_shares import shares_of

STAGE = "policy"


def training(shape: Shape, dpo: DPO, hardware: Hardware, *, stage: str = STAGE, texts: int = 2) -> list[Need]:
    """Return what a device holds at each moment of a training that may be its fullest.

    Every text is taken to be as long as `dpo.max_length` lets it be, and all of its tokens to be of completions.

    Args:
        shape: Of the model.
        dpo: The recipe.
        hardware: The profile.
        stage: What it is called.
        texts: Of a row: a pair has two.
    """
    numbers, plan = numbers_of(dpo, hardware), plan_batches(dpo, hardware)
    one = Pass(texts * plan.micro, dpo.max_length, hardware.attention, hardware.device)
    adapter = shape.adapter(dpo.lora.r, dpo.lora.target_modules, ALL_LINEAR)
    updated = optimisers.trained(shape, adapter)
    gradients = float(numbers.gradient * updated.weights)
    shares = shares_of(hardware, shape, numbers.computed, gradients)

    weights = (base_bytes(shape, numbers.weight, dpo.lora.quantisation) + numbers.trained * adapter) * shares.weights
    state = optimisers.state(dpo.optimizer, updated, numbers.masters or numbers.trained)
    state = (state + numbers.masters * updated.weights) * shares.optimiser
    momentary = shares.optimiser * optimisers.momentary(
        dpo.optimizer, updated, numbers.masters or numbers.trained, hardware.device, dpo.weight_decay
    )
    own_gradients = gradients * shares.gradients
    host = 0.0
    if shares.weights_on_host:
        host, weights = host + weights, 0.0
    if shares.optimiser_on_host:
        handed = FLOAT32 * updated.weights * shares.gradients  # to the optimiser, beside those that are summed
        host, state, momentary = host + state + own_gradients + handed, 0.0, 0.0
        own_gradients = own_gradients if shares.gradients == 1 else 0.0
    elif optimisers.is_paged(dpo.optimizer) and hardware.device.name == "cuda":
        host, state = host + state, 0.0
    host = training_host(host, shape, dpo, hardware, (updated, numbers))
    lasting = {"weights": weights + shares.gathered, "optimiser": state, "other": shares.buffers}

    head = 0.0 if adapter else float(FLOAT32 * shape.embedding)  # of its weight: made whole, in float32
    taken = kept_gradients(updated, numbers.gradient, hardware.device)
    earlier = own_gradients if plan.accumulation > 1 else min(taken, own_gradients)
    of_head = min(head, own_gradients)
    block = activations.block(shape, numbers, dpo.lora, one) * one.tokens
    checkpoints = numbers.residual * shape.hidden * one.tokens
    around = (FLOAT32 * 3) * shape.hidden * one.tokens  # the last norm, and what of it the head reads
    kept = (checkpoints if hardware.activation_checkpointing else block) * shape.layers + around
    copies = float(2 * shape.block_linear * shape.layers if numbers.cast else 0)
    if adapter and numbers.computed != numbers.trained:
        copies = 2.0 * adapter
    if dpo.lora.quantisation != QUANTISATIONS[0]:  # one layer's weights are made whole at a time
        lasting["weights"] += numbers.computed * max(wide * out for wide, out in shape.linear().values())
    copied_kept = copies if not hardware.activation_checkpointing else 0.0  # recomputed, a block makes its own again
    working = activations.working(shape, numbers, one) * one.tokens
    again = block + copies / shape.layers if hardware.activation_checkpointing else 0.0
    tokens = one.tokens
    widest = numbers.computed * tokens * shape.intermediate
    used = kept_activations(kept, widest, hardware.device)
    freed = activations.passing(shape, numbers, dpo.lora) * tokens * shape.layers
    if hardware.activation_checkpointing:
        freed = activations.forward_only(shape, numbers.computed, one) * tokens
    holes = kept_activations(freed, widest, hardware.device)
    before = kept_activations(again + working, widest, hardware.device)  # of the backward pass of the step before

    def need(moment: str, **parts: float) -> Need:
        named = {name: lasting.get(name, 0.0) + parts.get(name, 0.0) for name in {**lasting, **parts}}
        return Need(stage, moment, named, host)

    forward = logits.head_forward(shape, tokens, numbers.computed, hardware.device)
    backward = logits.head_backward(shape, tokens, numbers.computed, hardware.device)
    return [
        need("forward pass", gradients=earlier, activations=kept + copies + holes + before, logits=forward),
        need(
            "head's backward pass",
            gradients=earlier + head,
            activations=kept + copied_kept + holes + before,
            logits=backward,
        ),
        need(
            "backward pass",
            gradients=max(earlier, of_head),
            activations=kept + copied_kept + holes + again + working,
        ),
        need(
            "end of the backward pass", gradients=own_gradients, activations=max(used + holes, block + around) + working
        ),
        need("optimiser's step", gradients=own_gradients, optimiser=momentary, activations=used + holes + before),
    ]
