package io.winnow.pruning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.types.DataType;
import io.winnow.core.InvalidInputException;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A model of a family with experts, of which every layer is dense. */
class DenseModelTest {
  private static final Path DENSE =
      Path.of("../core/src/test/resources/cases/b28-qwen2-moe-all-plain/model");

  @TempDir private Path folder;

  private static void assertRefused(ThrowingCallable use) {
    assertThatThrownBy(use)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageMatching("(?i).*no layer has experts.*nothing to prune.*");
  }

  @Test
  void isRefusedWithTheReasonLoadedOrOnDisk() {
    Calibration calibration = StreamingPruningTest.randomTokens(2, 8);
    Path target = folder.resolve("pruned");
    ExpertPruner pruner = ExpertPruner.builder().build();
    assertRefused(() -> pruner.pruneCheckpoint(DENSE, calibration, 3, target));
    assertRefused(() -> pruner.estimateCheckpoint(DENSE, calibration, 3, target));
    assertRefused(() -> MoeModels.loader(DENSE).optDataType(DataType.FLOAT32).load());
    assertThat(target).doesNotExist();
  }
}
