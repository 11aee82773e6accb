package io.winnow.examples;

import ai.djl.ndarray.types.DataType;
import io.winnow.core.decoder.MoeModels;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** The options of commands that run a model a token at a time. */
final class DecodingOptions extends ModelOptions {
  @Option(
      names = "--java-steps",
      paramLabel = "N",
      defaultValue = "" + MoeModels.Loader.JAVA_STEPS,
      description =
          "up to how many elements of a checkpoint steps of one token run in Java on copies in"
              + " float32, not in PyTorch; 0 for never (default: ${DEFAULT-VALUE})")
  private long javaSteps;

  @Override
  MoeModels.Loader loader(Path folder, DataType as) {
    return super.loader(folder, as).optJavaSteps(javaSteps);
  }
}
