/**
 * Fine-tuning of a model, and merges of experts that gradients find.
 *
 * <p>A pruned model learns from the one before pruning, and goes on where it was stopped:
 *
 * <pre>{@code
 * FineTuning training =
 *     FineTuning.builder()
 *         .optSteps(200)
 *         .optTrained(FineTuning.Trained.ROUTERS_AND_NORMS)
 *         .optCheckpoints(Path.of("checkpoints"))
 *         .build();
 * FineTuning.Result result = training.run(pruned, original, text, validation);
 * System.out.println(Math.exp(result.validationLoss()));
 * MoeModels.save(pruned, target);
 * }</pre>
 */
@NullMarked
package io.winnow.core.train;

import org.jspecify.annotations.NullMarked;
