package io.winnow.core.internal.kernel.array;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the steps of a single token compute with. */
class ArrayMathTest {
  @Test
  void theExponentialIsThatOfMathToTheLastBits() {
    for (float x = -100; x < 100; x += 0.00371f) {
      double expected = Math.exp(x);
      assertThat((double) ArrayMath.exp(x))
          .as("e^" + x)
          .isCloseTo((float) expected, within(2e-7 * Math.min(expected, Float.MAX_VALUE)));
    }
  }

  @ParameterizedTest
  @CsvSource({
    "NaN, NaN",
    "Infinity, Infinity",
    "-Infinity, 0",
    "0, 1",
    "-0.0, 1",
    "1000, Infinity"
  })
  void theExponentialOfWhatIsNoOrdinaryNumberIsThatOfMath(float x, float expected) {
    assertThat(ArrayMath.exp(x)).isEqualTo(Float.valueOf(expected));
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 3, 4, 5, 11})
  void rowsAreWeightedAndAdded(int count) {
    Random random = new Random(count);
    float[][] rows = new float[count + 2][9];
    float[] factors = new float[count + 1];
    for (float[] row : rows) {
      for (int i = 0; i < row.length; i++) {
        row[i] = random.nextFloat();
      }
    }
    for (int i = 0; i < factors.length; i++) {
      factors[i] = random.nextFloat();
    }
    float[] sum = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    ArrayMath.addRows(sum, 8, factors, 1, rows, 2, count);
    for (int j = 0; j < 8; j++) {
      double expected = 1;
      for (int i = 0; i < count; i++) {
        expected += (double) factors[1 + i] * rows[2 + i][j];
      }
      assertThat((double) sum[j]).isCloseTo(expected, within(1e-6));
    }
    assertThat(sum[8]).as("behind the size").isEqualTo(1);
  }

  @ParameterizedTest
  @CsvSource({
    "1.0, 1.0",
    "1.00390625, 1.0",
    "1.01171875, 1.015625",
    "1.004, 1.0078125",
    "-1.00390625, -1.0",
    "NaN, NaN",
    "Infinity, Infinity",
    "3.4028235e38, Infinity"
  })
  void bfloat16IsRoundedToNearestAndTiesToEven(float value, float expected) {
    ByteBuffer bytes = ByteBuffer.allocateDirect(8).order(ByteOrder.nativeOrder());
    HostElements elements = new HostElements(bytes, false);
    elements.write(1, new float[] {5, value}, 1, 1);
    float[] read = {7, 7};
    elements.read(0, read);
    assertThat(read).containsExactly(0, expected);
  }

  @Test
  void float32IsReadAndWrittenAsItIs() {
    ByteBuffer bytes = ByteBuffer.allocateDirect(16).order(ByteOrder.nativeOrder());
    HostElements elements = new HostElements(bytes, true);
    elements.write(1, new float[] {5, 0.1f, 0.2f, 6}, 1, 2);
    float[] read = new float[2];
    elements.read(1, read);
    assertThat(read).containsExactly(0.1f, 0.2f);
  }
}
