package io.winnow.core.internal.layout;

import io.winnow.core.internal.checkpoint.StoredWeight;
import io.winnow.core.internal.form.DecoderConfig;
import io.winnow.core.internal.form.TensorNames.ExpertNames;
import io.winnow.core.internal.safetensors.TensorInfo;
import java.util.ArrayList;
import java.util.List;

/** Experts of a layer that lie in one tensor for each kind of matrix, one after the other. */
record FusedExperts(
    ExpertNames.Fused names, StoredTensors tensors, DecoderConfig config, ExpertCounts counts)
    implements ExpertStorage {
  @Override
  public List<StoredWeight> expert(int layer, int expert) {
    List<StoredWeight> slices = new ArrayList<>();
    for (StoredWeight all : fused(layer)) {
      slices.add(
          all instanceof StoredWeight.Mxfp4 blocks
              ? new StoredWeight.Mxfp4(
                  ofExpert(layer, blocks.values(), expert),
                  ofExpert(layer, blocks.scales(), expert))
              : new StoredWeight.Plain(ofExpert(layer, all.values(), expert)));
    }
    return names.layout() == ExpertNames.Layout.ROWS ? ExpertStorage.halved(slices) : slices;
  }

  private TensorInfo ofExpert(int layer, TensorInfo all, int expert) {
    return ExpertStorage.part(
        all, expert, counts.of(layer), all.shape().subList(1, all.shape().size()));
  }

  @Override
  public List<StoredWeight> own(int layer, int expert) {
    return List.of();
  }

  @Override
  public List<StoredWeight> fused(int layer) {
    long hidden = config.hiddenSize();
    long size = config.intermediateSize();
    long experts = counts.of(layer);
    List<StoredWeight> stored = new ArrayList<>();
    stored.add(matrices(layer, names.gateUp(), 2 * size, hidden));
    stored.add(matrices(layer, names.down(), hidden, size));
    if (names.gateUpBias() != null && names.downBias() != null) {
      stored.add(
          new StoredWeight.Plain(
              tensors.plain(tensors.names().block(layer, names.gateUpBias()), experts, 2 * size)));
      stored.add(
          new StoredWeight.Plain(
              tensors.plain(tensors.names().block(layer, names.downBias()), experts, hidden)));
    }
    return stored;
  }

  /** Returns all experts' matrices {@code [rows, columns]}, which may be stored transposed. */
  private StoredWeight matrices(int layer, String ofBlock, long rows, long columns) {
    String name = tensors.names().block(layer, ofBlock);
    long experts = counts.of(layer);
    // The blocks are those of gpt-oss; what alternates are rows in them.
    if (names.layout() == ExpertNames.Layout.ALTERNATING_COLUMNS
        && tensors.quantization().isBlocks(tensors.checkpoint(), name)) {
      List<TensorInfo> blocks =
          Quantization.blocks(tensors.checkpoint(), name, experts, rows, columns);
      return new StoredWeight.Mxfp4(blocks.get(0), blocks.get(1));
    }
    return new StoredWeight.Plain(
        names.layout().isTransposed()
            ? tensors.plain(name, experts, columns, rows)
            : tensors.plain(name, experts, rows, columns));
  }

  @Override
  public List<StoredWeight> all(int layer) {
    return fused(layer);
  }
}
