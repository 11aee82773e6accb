package io.winnow.pruning.sparsify;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.model.LayerSparsity;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;

/** Masks of checkpoints, and the checkpoints that are written with them. */
final class Masks {
  private Masks() {}

  static Calibration calibration(int sequences, int length, int vocabulary) {
    Random random = new Random(5);
    long[][] ids = new long[sequences][];
    for (int i = 0; i < sequences; i++) {
      ids[i] = random.longs(length, 0, vocabulary).toArray();
    }
    return Calibration.ofTokens(ids);
  }

  static WandaMask mask(Path source, String pattern, Calibration calibration, boolean fused) {
    try (Model model =
        MoeModels.loader(source)
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32)
            .optFused(fused)
            .load()) {
      return Wanda.builder()
          .setPattern(SparsityPattern.parse(pattern))
          .build()
          .calibrate(model, calibration);
    }
  }

  static WandaMask mask(Path source, String pattern) {
    return mask(source, pattern, calibration(4, 24, 50), true);
  }

  static List<LayerSparsity> write(Path source, WandaMask mask, Path target) {
    return MoeModels.writeMasked(source, mask, mask.provenance(), target, null);
  }

  static SafetensorsFile weights(Path checkpoint) {
    return SafetensorsFile.open(checkpoint.resolve("model.safetensors"));
  }
}
