/**
 * Checkpoint folders as DJL models: {@link io.winnow.core.model.MoeModels} loads, writes and
 * inspects them.
 *
 * <pre>{@code
 * CheckpointSummary summary = MoeModels.inspect(folder);
 * System.out.println(summary.experts() + " experts, " + summary.total().bytes() + " bytes");
 * try (Model model = MoeModels.loader(folder).optDataType(DataType.BFLOAT16).load()) {
 *   MoeModel.of(model).moeLayers().forEach(layer -> layer.retain(0, 1, 2, 3));
 *   MoeModels.save(model, target);
 * }
 * }</pre>
 */
@NullMarked
package io.winnow.core.model;

import org.jspecify.annotations.NullMarked;
